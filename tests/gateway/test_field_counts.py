from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from gateway import field_counts
from gateway.field_counts import FieldCounts
from mappings import fates, receipt

NAMES = [row.name for row in fates.TABLE]


def combination(kinds: dict[str, fates.Kind]) -> field_counts.Combination:
    return tuple(tuple(name for name, kind in kinds.items() if kind == one) for one in fates.KINDS)


def shown(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    [family] = registry.collect()
    assert (family.name, family.type) == ("things", "counter")
    assert {sample.name for sample in family.samples} <= {"things_total"}
    return {(sample.labels["field"], sample.labels["fate"]): sample.value for sample in family.samples}


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(fates.KINDS))))
def test_each_field_of_each_request_counts_once_under_its_fate(requests: list[dict[str, fates.Kind]]) -> None:
    registry = CollectorRegistry()
    counts = FieldCounts("things", "Things.", registry=registry)
    for kinds in requests:
        counts.add(combination(kinds))
    assert shown(registry) == Counter(pair for kinds in requests for pair in kinds.items())


def test_combinations_beyond_the_bound_are_counted_field_by_field() -> None:
    registry = CollectorRegistry(auto_describe=True)
    counts = FieldCounts("things", "Things.", registry=registry)
    for number in range(1000):
        chosen = {name: fates.KINDS[number % 4] for place, name in enumerate(NAMES) if number >> place & 1}
        counts.add(combination(chosen))
    series = counts._together.collect()[0].samples
    assert len(series) <= field_counts.MAX_COMBINATIONS + len(NAMES) * len(fates.KINDS)
    assert sum(shown(registry).values()) == sum(number.bit_count() for number in range(1000))


def test_the_fates_of_a_receipt_are_in_the_order_of_a_combination() -> None:
    assert receipt.ByFate.__struct_fields__ == (*fates.KINDS, "unknown")
