"""Any V1 request, for laws that hold for all of them."""

import json
from typing import Any

from hypothesis import strategies as st

from mappings import v1
from mappings.turn import Turn

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**80), 2**80)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=20)
TEXTS = st.none() | st.text(max_size=300)
FLAGS = st.none() | st.booleans()
IDS = st.text(min_size=1, max_size=20)
URLS = st.sampled_from([None, "", "https://pictures.example.com/a.jpg"])

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "conversation_id": TEXTS,
    "message": TEXTS,
    "messages": st.none()
    | st.lists(
        st.fixed_dictionaries({"bot": st.booleans(), "content": st.lists(st.text(max_size=20), max_size=3)}), max_size=3
    ),
    "webhook": TEXTS,
    "min_delay": st.sampled_from([None, 0, 1.5]),
    "max_delay": st.sampled_from([None, 2, 60]),
    "language": st.sampled_from([None, "", "es", "EN ", "xx"]) | TEXTS,
    "platform": TEXTS,
    "timezone": TEXTS,
    "user_kv_pairs": st.none() | st.dictionaries(st.text(max_size=10), SCALARS, max_size=4),
    "degrade_grammar": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "enable_protections": FLAGS,
    "question_mode": TEXTS,
    "user_display_name": TEXTS,
    "bot_display_name": TEXTS,
    "prompt": TEXTS,
    "segment": FLAGS,
    "fast_mode": FLAGS,
    "follow_up": SCALARS,
    "is_follow_up": FLAGS,
    "start_message": SCALARS,
    "no_start_message": FLAGS,
    "use_hardcoded_conversation_starters": FLAGS,
    "offer_url": TEXTS,
    "user_freeform": TEXTS,
    "image_id": TEXTS,
    "image_url": URLS,
    "user_images": st.none() | st.lists(IDS, max_size=2),
    "bot_images": st.none() | st.lists(IDS, max_size=2),
    "chat_images_enabled": FLAGS,
    "user_can_send_photos": FLAGS,
}
REQUIRED = {"bot_id": IDS, "user_id": IDS}
UNKNOWN: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.text(max_size=80).filter(lambda name: name not in FIELDS | REQUIRED), SCALARS | st.just([]), max_size=4
)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """Give a request that the gateway reads, with any of V1's fields and some that it does not have."""
    return draw(UNKNOWN) | draw(st.fixed_dictionaries(REQUIRED, optional=FIELDS))


def read(request: dict[str, Any]) -> Turn:
    """Read a request as it comes over the wire."""
    return v1.decode_request(json.dumps(request).encode())
