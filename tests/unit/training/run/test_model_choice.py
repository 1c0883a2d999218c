import pytest

from diffcdr.errors import InputError
from training.config import load_preset
from training.evaluation.evaluate import Metrics
from training.models.registry import MODELS
from training.run.model_choice import (
    OF_HISTORIES,
    champion,
    parse_models,
    suited,
)

REFERENCE = load_preset("reference")


def test_names_of_models() -> None:
    assert parse_models("all", REFERENCE) == tuple(name for name in MODELS if name not in OF_HISTORIES)
    assert parse_models(" emcdr,mean, mean", REFERENCE) == ("mean", "emcdr")
    with pytest.raises(InputError, match="did you mean 'emcdr'"):
        parse_models("mean,emcd", REFERENCE)
    for text in ("", " , "):
        with pytest.raises(InputError, match="names no model"):
            parse_models(text, REFERENCE)


def test_all_leaves_out_what_the_settings_make_no_sense_of() -> None:
    plain = ("mean", "bias", "popular", "ridge")
    histories = ("itemknn", "dual_ridge", "ease", "joint_als", "userknn", "gfcf", "slim")
    assert suited(load_preset("ranking")) == (*plain, *histories, "diffcdr")
    robust = suited(load_preset("robust"))
    assert set(MODELS) - set(robust) == {"diffcdr-da", "diffcdr-at", "diffcdr-at-task"} | OF_HISTORIES


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


def of_lists(ndcg: float) -> Metrics:
    return Metrics(None, None, None, None, ndcg=ndcg, hr=0.5, recall=0.5, k=20, users=9, ratings=9)


def test_the_champion_is_the_best_that_has_the_metric() -> None:
    figures = {"itemknn": of_lists(0.3), "ridge": of_lists(0.1), "ease": of_lists(0.2)}
    assert champion(figures, "ndcg@20") == "itemknn"
    with pytest.raises(InputError, match="none of the models"):
        champion({"itemknn": of_lists(0.3)}, "rmse")
