"""A model goes where there is room for it, and what does not fit is said before anything is loaded."""

from dataclasses import replace

import pytest

from llstore.runner.errors import InvalidEngine, NoRoom
from llstore.runner.placement.choose import choose
from llstore.runner.placement.facts import ModelFacts
from llstore.runner.placement.layout import layout
from llstore.runner.placement.machine import Gpu, Machine
from llstore.runner.placement.placement import Placement
from llstore.runner.placement.tuned import Speeds, Tuned
from llstore.runner.placement.wanted import HARMLESS, Usual, Wanted
from llstore.store.layers import Layer
from llstore.store.memory_need import ContextShape, MemoryNeed

GIB = 1 << 30
# A model of 8 billion weights in 4 bits: 32 layers of 140 MB, 8 KV heads of 128 numbers.
NEED = MemoryNeed(
    embeddings=300_000_000,
    layers=(Layer(140_000_000, keys=1024, values=1024),) * 32,
    output=430_000_000,
    tied=0,
    heads=32,
    head_sizes=(128, 128),
    vocabulary=128_256,
    embedding=4096,
    queries=4096,
    feed_forward=14_336,
    masks=1,
)
MODEL = ModelFacts(NEED, 131_072, "llama")
SPEEDS = Speeds(1.0, 1.0, 1.0)


def machine(*gpus: float, host: float = 64, cores: int = 8) -> Machine:
    """A machine with GPUs that have so many GiB free, and as much host memory."""
    made = tuple(Gpu(f"GPU{n}", int(size * GIB), int(size * GIB)) for n, size in enumerate(gpus))
    return Machine(free=int(host * GIB), cores=cores, most_threads=cores, gpus=made)


def chosen(placement: Placement, name: str) -> tuple[object, str]:
    found = next(choice for choice in placement.choices if choice.name == name)
    return found.value, found.reason


def test_without_a_gpu_everything_is_on_the_host() -> None:
    found = choose(MODEL, machine(), Wanted())
    assert found.layout.gpu_layers == found.engine.gpu_layers == 0
    assert found.layout.host == NEED.total(ContextShape(found.engine.context_size, slots=16, flash_attention=True))
    assert chosen(found, "gpu_layers") == (0, "no GPU")


def test_an_engine_has_16_slots_of_4096_tokens_and_flash_attention() -> None:
    engine = choose(MODEL, machine(host=128), Wanted()).engine
    assert (engine.parallel, engine.context_size, engine.flash_attention) == (16, 4096, True)
    assert (engine.threads, engine.batch_size, engine.repack, engine.unified) == (8, 512, True, False)


def test_a_context_is_no_longer_than_the_model_was_trained_for() -> None:
    short = replace(MODEL, context_length=2048)
    assert choose(short, machine(), Wanted()).engine.context_size == 2048
    with pytest.raises(InvalidEngine, match="trained for 2048"):
        choose(short, machine(), Wanted(context=2049))


def test_all_layers_go_to_a_gpu_with_room_for_them() -> None:
    found = choose(MODEL, machine(80), Wanted())
    assert found.engine.gpu_layers == 33
    assert chosen(found, "gpu_layers") == (33, "all fit")
    assert found.layout.host < GIB
    assert found.layout.gpus[0] > 4 * GIB + NEED.kv(ContextShape(4096, slots=16))


def test_layers_that_a_gpu_has_no_room_for_stay_on_the_host() -> None:
    found = choose(MODEL, machine(6), Wanted(context=8192, parallel=4))
    assert 0 < found.engine.gpu_layers < 33
    assert found.layout.gpus[0] <= machine(6).gpus[0].room
    one_more = layout(NEED, shape(8192, 4), machine(6).gpus, gpu_layers=found.engine.gpu_layers + 1, split="layer")
    assert one_more.gpus[0] > machine(6).gpus[0].room
    assert chosen(found, "gpu_layers")[1] == "what fits"


def test_each_layer_is_somewhere_once() -> None:
    for gpus in ((6,), (3, 9), (4, 4, 4)):
        for count in (0, 1, 7, 33):
            found = layout(NEED, shape(1024, 1), machine(*gpus).gpus, gpu_layers=count, split="layer")
            scratch = NEED.scratch(shape(1024, 1))
            used = sum(1 for size in found.gpus if size)
            brought = used * 140_000_000 if 0 < count < 33 else 0
            extra = scratch * (used + (count < 33)) + brought + NEED.logits(shape(1024, 1))
            assert found.total == NEED.weights + NEED.kv(shape(1024, 1)) + extra


def test_a_shorter_context_is_chosen_rather_than_layers_on_the_host() -> None:
    found = choose(MODEL, machine(10), Wanted())
    assert found.engine.gpu_layers == 33
    assert 1024 <= found.engine.context_size < 4096
    assert found.engine.context_size % 256 == 0
    assert chosen(found, "context_size")[1] == "what fits"
    assert not fits(machine(10), found.engine.context_size + 256, 33)


def test_a_context_that_is_too_short_to_use_is_not() -> None:
    found = choose(MODEL, machine(6), Wanted())
    assert found.engine.context_size == 4096
    assert found.engine.gpu_layers < 33


def test_the_context_asked_for_goes_before_layers_on_a_gpu() -> None:
    found = choose(MODEL, machine(10), Wanted(context=4096))
    assert found.engine.context_size == 4096
    assert 0 < found.engine.gpu_layers < 33


def test_where_only_a_gpu_has_room_the_host_needs_none() -> None:
    assert choose(MODEL, machine(80, host=2), Wanted()).engine.gpu_layers == 33
    with pytest.raises(NoRoom):
        choose(MODEL, machine(host=2), Wanted(context=1024, parallel=1))


def test_several_gpus_share_the_layers_by_their_free_memory() -> None:
    found = choose(MODEL, machine(6, 18), Wanted())
    assert found.engine.gpu_layers == 33
    small, large = found.layout.gpus
    assert 2 < large / small < 4
    assert choose(MODEL, machine(6), Wanted(context=4096)).engine.gpu_layers < 33


def test_split_none_uses_the_first_gpu_alone() -> None:
    found = choose(MODEL, machine(24, 24), Wanted(split="none", context=4096))
    assert found.layout.gpus[0] > 0
    assert found.layout.gpus[1] == 0
    assert found.engine.split == found.engine.split == "none"


def test_split_by_rows_gives_each_gpu_a_part_of_every_layer() -> None:
    by_rows = layout(NEED, shape(1024, 1), machine(12, 12).gpus, gpu_layers=1, split="row")
    by_layers = layout(NEED, shape(1024, 1), machine(12, 12).gpus, gpu_layers=1, split="layer")
    assert by_rows.gpus[0] == by_rows.gpus[1]
    assert by_layers.gpus[1] == 0


def test_an_integrated_gpu_takes_its_memory_from_the_host() -> None:
    shared = Machine(8 * GIB, 4, 4, (Gpu("iGPU", 16 * GIB, 16 * GIB, integrated=True),))
    assert choose(MODEL, shared, Wanted(context=2048, parallel=1)).engine.gpu_layers == 33
    with pytest.raises(NoRoom):
        choose(MODEL, shared, Wanted(context=65_536, parallel=1))


def test_beside_another_gpu_an_integrated_one_is_not_used() -> None:
    both = Machine(64 * GIB, 4, 4, (Gpu("iGPU", GIB, GIB, integrated=True), Gpu("GPU", 80 * GIB, 80 * GIB)))
    assert choose(MODEL, both, Wanted()).layout.gpus[0] > GIB


def test_embeddings_that_are_the_output_too_lie_on_host_and_gpu() -> None:
    tied = replace(NEED, tied=300_000_000, output=4096)
    found = layout(tied, shape(1024, 1), machine(80).gpus, gpu_layers=33, split="layer")
    assert found.host >= 300_000_000
    assert found.gpus[0] > 32 * 140_000_000 + 300_000_000


@pytest.mark.parametrize("count", [0, 5, 33])
def test_gpu_layers_asked_for_are_the_gpu_layers(count: int) -> None:
    found = choose(MODEL, machine(80), Wanted(gpu_layers=count))
    assert found.engine.gpu_layers == count
    assert chosen(found, "gpu_layers") == (count, "asked for")


def test_more_gpu_layers_than_the_model_has_are_all_of_them() -> None:
    assert choose(MODEL, machine(80), Wanted(gpu_layers=999)).engine.gpu_layers == 33


def test_gpu_layers_without_a_gpu_are_refused() -> None:
    with pytest.raises(InvalidEngine, match="no GPU"):
        choose(MODEL, machine(), Wanted(gpu_layers=1))
    assert choose(MODEL, machine(), Wanted(gpu_layers=0)).engine.gpu_layers == 0


def test_gpu_layers_that_do_not_fit_are_an_error_that_says_how_many_do() -> None:
    wanted = Wanted(gpu_layers=33, context=4096)
    with pytest.raises(NoRoom) as caught:
        choose(MODEL, machine(10), wanted)
    layers = offered(caught.value, "--gpu-layers")
    assert choose(MODEL, machine(10), replace(wanted, gpu_layers=layers)).engine.gpu_layers == layers


def test_a_context_without_room_is_an_error_that_says_what_would_fit() -> None:
    wanted = Wanted(context=131_072, parallel=4, flash_attention="on")
    with pytest.raises(NoRoom, match="4 x 131072 tokens") as caught:
        choose(MODEL, machine(host=32), wanted)
    for flag, field in (("--ctx", "context"), ("--parallel", "parallel")):
        value = offered(caught.value, flag)
        assert choose(MODEL, machine(host=32), replace(wanted, **{field: value}))
        step = 256 if field == "context" else 1
        with pytest.raises(NoRoom):
            choose(MODEL, machine(host=32), replace(wanted, **{field: value + step}))
    assert "--kv-type q8_0" not in caught.value.hint
    assert "--kv-type q4_0" in caught.value.hint
    assert choose(MODEL, machine(host=32), replace(wanted, kv_type="q4_0")).engine.key_type == "q4_0"


def test_a_model_for_which_there_is_no_room_at_all() -> None:
    with pytest.raises(NoRoom, match=r"it needs .* GB") as caught:
        choose(MODEL, machine(host=4), Wanted())
    assert caught.value.hint == "no context of this model fits"


def test_what_seems_not_to_fit_is_placed_when_it_is_not_to_be_checked() -> None:
    found = choose(MODEL, machine(10, host=1), Wanted(context=131_072, check=False))
    assert (found.engine.context_size, found.engine.gpu_layers) == (131_072, 0)
    assert choose(MODEL, machine(10, host=1), Wanted(gpu_layers=33, check=False)).engine.gpu_layers == 33


def test_a_quantized_cache_turns_flash_attention_on() -> None:
    usual = Usual(flash_attention=False)
    found = choose(MODEL, machine(), Wanted(kv_type="q8_0"), usual=usual)
    assert (found.engine.key_type, found.engine.value_type, found.engine.flash_attention) == ("q8_0", "q8_0", True)
    assert chosen(found, "flash_attention") == (True, "a KV cache of q8_0 needs it")
    assert not choose(MODEL, machine(), Wanted(kv_type="bf16"), usual=usual).engine.flash_attention


@pytest.mark.parametrize(
    ("model", "wanted", "said"),
    [
        (MODEL, Wanted(kv_type="q8_0", flash_attention="off"), "needs flash attention"),
        (
            replace(MODEL, need=replace(NEED, head_sizes=(80, 80))),
            Wanted(kv_type="q4_0"),
            "heads of this model have 80",
        ),
        (replace(MODEL, architecture="grok"), Wanted(kv_type="q8_0"), "grok models do without"),
        (replace(MODEL, architecture="grok"), Wanted(flash_attention="on"), "without flash attention"),
        (MODEL, Wanted(kv_type="q5_1"), "must be one of f32"),
        (MODEL, Wanted(split="column"), "must be one of none"),
        (MODEL, Wanted(parallel=0), "from 1 to 256"),
        (MODEL, Wanted(parallel=257), "from 1 to 256"),
        (MODEL, Wanted(context=0), "context is 0"),
        (MODEL, Wanted(threads=9), "more than the 8"),
        (MODEL, Wanted(batch_size=0), "from 1 to 65536"),
        (MODEL, Wanted(gpu_layers=-1), "gpu_layers is -1"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(model: ModelFacts, wanted: Wanted, said: str) -> None:
    with pytest.raises(InvalidEngine, match=said):
        choose(model, machine(), wanted)


def test_an_architecture_without_flash_attention_has_it_off() -> None:
    found = choose(replace(MODEL, architecture="grok"), machine(), Wanted())
    assert found.engine.flash_attention is False
    assert choose(replace(MODEL, architecture="grok"), machine(), Wanted(flash_attention="auto")) == found


def test_flash_attention_is_as_asked_for() -> None:
    off = Usual(flash_attention=False)
    for asked, usual, on in (("on", off, True), ("auto", off, True), (None, off, False), ("off", Usual(), False)):
        found = choose(MODEL, machine(), Wanted(flash_attention=asked), usual=usual)
        assert found.engine.flash_attention is on


def tuned(**settings: int | bool) -> Tuned:
    return Tuned(settings, parallel=16, date="2026-10-01", before=SPEEDS, after=SPEEDS)


def test_what_was_tuned_is_used_unless_something_else_is_asked_for() -> None:
    measured = tuned(threads=3, batch_size=256, repack=False, unified=True, flash_attention=False)
    engine = choose(MODEL, machine(), Wanted(), tuned=measured).engine
    assert (engine.threads, engine.batch_size) == (3, 256)
    assert (engine.repack, engine.unified, engine.flash_attention) == (False, True, False)
    asked = Wanted(threads=4, batch_size=128, repack=True, unified=False, flash_attention="on")
    engine = choose(MODEL, machine(), asked, tuned=measured).engine
    assert (engine.threads, engine.batch_size) == (4, 128)
    assert (engine.repack, engine.unified, engine.flash_attention) == (True, False, True)
    assert chosen(choose(MODEL, machine(), Wanted(), tuned=measured), "threads") == (3, "tuned on 2026-10-01")


def test_where_a_text_must_not_change_only_threads_are_tuned() -> None:
    measured = tuned(threads=3, batch_size=256, repack=False, unified=True, flash_attention=True)
    engine = choose(
        MODEL, machine(), Wanted(), usual=Usual(tunable=HARMLESS, flash_attention=False), tuned=measured
    ).engine
    assert (engine.threads, engine.batch_size) == (3, 512)
    assert (engine.repack, engine.unified, engine.flash_attention) == (True, False, False)


def test_threads_tuned_for_more_cores_are_as_many_as_there_are() -> None:
    assert choose(MODEL, machine(cores=2), Wanted(), tuned=tuned(threads=8)).engine.threads == 2


def shape(context: int, slots: int) -> ContextShape:
    return ContextShape(context, slots=slots, flash_attention=True)


def fits(machine: Machine, context: int, count: int) -> bool:
    return layout(NEED, shape(context, 16), machine.used_gpus, gpu_layers=count, split="layer").fits(machine)


def offered(error: NoRoom, flag: str) -> int:
    words = error.hint.split()
    return int(words[words.index(flag) + 1])


def test_kernels_that_fail_are_not_chosen_whatever_was_asked_or_tuned() -> None:
    wanted = Wanted(repack=True, kv_type="q8_0", gpu_layers=5).without(frozenset({"repack", "flash_attention", "gpu"}))
    found = choose(MODEL, machine(24), wanted)
    engine = found.engine
    assert (engine.repack, engine.flash_attention, engine.key_type, engine.gpu_layers) == (False, False, "f16", 0)
    assert found.switched_off == {"repack", "flash_attention", "gpu"}
    assert chosen(found, "repack") == (False, "other kernels fail here")
