"""Entries of the directory, written by hand."""

from gateway import keys
from gateway.directory import Directory
from gateway.store import Store


async def know(store: Store, conversation: keys.ConversationKeys, upstream_id: str, **parts: str) -> None:
    """Let the directory know the conversation by these parts, beside those that it knows already."""
    known = dict(await Directory(store).show(conversation)) | parts | {"id": upstream_id}
    await store.redis.delete(conversation.directory)
    fields = [word for part in known.items() for word in part]
    await store.run(
        "restore_conversation", [conversation.directory], upstream_id, keys.CONVERSATION_TTL_SECONDS, *fields
    )
