import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcdr.errors import InputError
from training.base_models.config import ALSConfig
from training.config import load_preset, preset_names
from training.models.closed_form.config import GaussianDiffCDRConfig


def test_the_presets_of_the_literature_are_there_and_load() -> None:
    assert {"paper", "reference"} <= set(preset_names())
    for name in preset_names():
        load_preset(name)


def test_reference_and_paper_differ_where_the_released_code_and_the_text_do() -> None:
    reference, paper = load_preset("reference"), load_preset("paper")
    assert reference.diffcdr.activation == "none"
    assert reference.diffcdr.schedule != reference.diffcdr.effective_sampling_schedule
    assert paper.diffcdr.schedule == paper.diffcdr.effective_sampling_schedule
    assert (reference.diffcdr.rows, paper.diffcdr.rows) == ("ratings", "users")
    assert (reference.diffcdr.time_features, reference.diffcdr.time_frequencies) == (128, "to_the_end")
    assert paper.diffcdr.time_frequencies == "over_half"
    assert (reference.sscdr.anchors, paper.sscdr.anchors) == ("overlap", "source_only")
    assert (reference.lacdr.distance, paper.lacdr.distance) == ("norm", "squared")
    assert (reference.ptupcdr.padding, paper.ptupcdr.padding) == ("first_item", "masked")
    assert (reference.diffcdr.alm_loss, paper.diffcdr.alm_loss) == ("smooth_l1", "l1")
    assert (reference.base.lr, paper.base.lr) == (0.01, 0.001)
    # What both agree on.
    for preset in (reference, paper):
        assert preset.base.dim == 10
        assert preset.diffcdr.hidden_dim == 128
        assert preset.diffcdr.nfe == 30
        assert preset.diffcdr.guidance_scale == 0.1
        assert preset.diffcdr.condition_dropout == 0.1
        assert preset.diffcdr.initial_state == "source"


def test_overrides_apply_in_order_and_by_type() -> None:
    config = load_preset(
        "reference",
        [
            "diffcdr.nfe=7",
            "diffcdr.nfe=10",
            "diffcdr.lr=1",
            "diffcdr.activation=silu",
            "diffcdr.antithetic=false",
            "diffcdr.clip_norm=none",
            "bias.weights=[0.25, 1]",
            "split.test_fraction=0.5",
        ],
    )
    assert config.diffcdr.nfe == 10
    assert config.diffcdr.lr == 1.0
    assert config.diffcdr.activation == "silu"
    assert config.diffcdr.antithetic is False
    assert config.diffcdr.clip_norm is None
    assert config.bias.weights == (0.25, 1.0)
    assert config.split.test_fraction == 0.5
    # The rest is as it was, and "none" is a word where a setting has it as a choice.
    assert config.base == load_preset("reference").base
    assert load_preset("paper", ["diffcdr.activation=none"]).diffcdr.activation == "none"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("difcdr.nfe=10", "did you mean 'diffcdr'"),
        ("diffcdr.nef=10", "did you mean 'nfe'"),
        ("base.epoch=3", "did you mean 'epochs'"),
        ("zzz.nfe=1", "sections are: split, base"),
        ("mean.weight=1", r"\[mean\] has no settings"),
        ("nfe=10", "section.key=value"),
        ("diffcdr.nfe", "section.key=value"),
        ("", "section.key=value"),
        ("diffcdr.nfe=ten", "diffcdr.nfe=ten .* should be a valid integer"),
        ("diffcdr.nfe=1.5", "should be a valid integer"),
        ("diffcdr.nfe=true", "should be a valid integer"),
        ('diffcdr.nfe="3"', "should be a valid integer"),
        ("diffcdr.nfe=", "should be a valid integer"),
        ("diffcdr.nfe=0", "greater than or equal to 1"),
        ("diffcdr.nfe=none", "should be a valid integer"),
        ("diffcdr.activation=relu", "should be 'none' or 'silu'"),
        ("diffcdr.conditioning=hidden", "diffcdr.conditioning=hidden cannot be used: it needs diffcdr.activation=silu"),
        ("base.lr=inf", "should be a valid number"),
        ("base.lr=nan", "should be a valid number"),
        ("base.lr=2024-01-01", "should be a valid number"),
        ("split.test_fraction=1.0", "less than 1"),
    ],
)
def test_a_wrong_setting_is_one_clear_sentence(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_preset("reference", [override])
    assert "\n" not in str(caught.value)


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'reference'.*presets are: .*paper, .*reference"):
        load_preset("referense")


@pytest.mark.parametrize("name", ["", "../presets/paper", "paper.toml", "/etc/passwd"])
def test_a_preset_is_a_name_not_a_path(name: str) -> None:
    with pytest.raises(InputError, match="there is no preset"):
        load_preset(name)


@given(st.text(max_size=30))
def test_any_text_is_a_setting_or_an_input_error(text: str) -> None:
    for override in (text, f"diffcdr.nfe={text}", f"{text}=1"):
        try:
            load_preset("reference", [override])
        except InputError:
            continue


def test_the_ranking_preset_is_interactions_carried_in_closed_form() -> None:
    config = load_preset("ranking")
    assert (config.base.kind, config.diffcdr.form) == ("als", "blend")
    assert load_preset("ranking", ["base.dim=16", "diffcdr.guidance_scales=[1.0]"]).base.dim == 16


def test_another_kind_of_section_starts_from_its_own_defaults() -> None:
    config = load_preset("reference", ["base.kind=als", "base.dim=16", "diffcdr.form=gaussian"])
    assert config.base == ALSConfig(dim=16)
    assert config.diffcdr == GaussianDiffCDRConfig()
    same = load_preset("reference", ["base.kind=mf", "diffcdr.form=network"])
    assert (same.base, same.diffcdr) == (load_preset("reference").base, load_preset("reference").diffcdr)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("base.kind=asl", "did you mean 'als'.*there are: mf, als"),
        ("diffcdr.form=3", "there are: network, gaussian"),
        ("base.epochs=3", r"no setting base.epochs; settings of \[base\] are: kind, dim"),
        ("diffcdr.hidden_dim=3", "no setting diffcdr.hidden_dim; .* form, history_dim"),
        ("base.dim=0", "setting base.dim=0 cannot be used"),
        ("base.confidence=high", "setting base.confidence=high cannot be used"),
    ],
)
def test_settings_of_one_kind_are_no_settings_of_another(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_preset("ranking", [override])
