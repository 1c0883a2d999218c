import pytest

from diffcdr.errors import InputError
from training.config import load_preset
from training.models.registry import MODELS
from training.run.model_choice import parse_models, suited

REFERENCE = load_preset("reference")


def test_names_of_models() -> None:
    assert parse_models("all", REFERENCE) == tuple(MODELS)
    assert parse_models(" emcdr,mean, mean", REFERENCE) == ("mean", "emcdr")
    with pytest.raises(InputError, match="did you mean 'emcdr'"):
        parse_models("mean,emcd", REFERENCE)
    for text in ("", " , "):
        with pytest.raises(InputError, match="names no model"):
            parse_models(text, REFERENCE)


def test_all_leaves_out_what_the_settings_make_no_sense_of() -> None:
    assert suited(load_preset("ranking")) == ("mean", "bias", "popular", "ridge", "diffcdr")
    robust = suited(load_preset("robust"))
    assert set(MODELS) - set(robust) == {"diffcdr-da", "diffcdr-at", "diffcdr-at-task"}


def test_the_paper_s_systems_by_one_word() -> None:
    seven = ("tgt", "cmf", "emcdr", "sscdr", "lacdr", "ptupcdr", "diffcdr")
    ablations = ("diffcdr-da", "diffcdr-at", "diffcdr-at-task")
    for preset in ("reference", "paper"):
        assert parse_models("paper", load_preset(preset)) == (*seven, *ablations)
    assert parse_models("paper,bias", REFERENCE) == ("bias", *seven, *ablations)
    for preset in ("ranking", "robust"):
        with pytest.raises(InputError, match="--preset reference"):
            parse_models("paper", load_preset(preset))
    with pytest.raises(InputError, match="did you mean 'paper'"):
        parse_models("papr", REFERENCE)
