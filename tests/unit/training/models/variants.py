"""Every model in each of its kinds, with settings that make it quick on the planted problem."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import BaseModel

from training.fitting.loop import FitReport
from training.models.closed_form.config import GaussianDiffCDRConfig
from training.models.contract import TransferModel
from training.models.registry import MODELS
from training.models.robust.config import RobustDiffCDRConfig
from training.problem import TransferProblem

FAST = {"lr": 0.01, "epochs": 8, "batch_size": 40, "hidden_dim": 32, "nfe": 12, "time_features": 8, "rows": "ratings"}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "mean": ("mean", {}),
    "bias": ("bias", {}),
    "popular": ("popular", {}),
    "tgt": ("tgt", {}),
    "ridge": ("ridge", {}),
    "cmf": ("cmf", {"dim": 4, "epochs": 30, "lr": 0.02, "weight_decay": 0.01}),
    "cmf-released": ("cmf", {"dim": 4, "epochs": 30, "biases": False, "init_std": 0.3, "optimizer": "adam"}),
    "sscdr-linear": ("sscdr", {"epochs": 40, "batch_size": 16}),
    "sscdr-mlp": ("sscdr", {"mapping": "mlp", "epochs": 20, "batch_size": 16}),
    "sscdr-released": (
        "sscdr",
        {"bias": True, "anchors": "overlap", "negatives": "once", "margin": 0.1, "rows": "ratings", "epochs": 10},
    ),
    "lacdr-released": (
        "lacdr",
        {
            "biases": False,
            "distance": "norm",
            "alignment_weight": 2.0,
            "reconstruct": "overlap",
            "rows": "ratings",
            "epochs": 10,
        },
    ),
    "lacdr-linear": ("lacdr", {"epochs": 40, "batch_size": 16}),
    "lacdr-tanh": ("lacdr", {"activation": "tanh", "hidden_dim": 8, "epochs": 40, "batch_size": 16}),
    "ptupcdr": ("ptupcdr", {"epochs": 10, "batch_size": 32}),
    "ptupcdr-padded": ("ptupcdr", {"epochs": 10, "batch_size": 32, "padding": "first_item"}),
    "tmcdr-linear": ("tmcdr", {"epochs": 30, "batch_size": 16, "lr": 0.02}),
    "tmcdr-mlp": ("tmcdr", {"mapping": "mlp", "epochs": 30, "batch_size": 16, "lr": 0.02}),
    "dcdcsr-linear": ("dcdcsr", {"mapping": "linear", "epochs": 40, "batch_size": 16}),
    "dcdcsr-mlp": ("dcdcsr", {"epochs": 20, "batch_size": 16}),
    "mwuf": ("mwuf", {"epochs": 8, "batch_size": 32}),
    "ldiffrec": ("ldiffrec", {"epochs": 35, "batch_size": 16}),
    "savae": ("savae", {"epochs": 25, "source_epochs": 25, "batch_size": 32, "lr": 0.03, "dim": 4}),
    "cdrib": ("cdrib", {"epochs": 20, "batch_size": 32, "lr": 0.02}),
    "vdea": ("vdea", {"epochs": 25, "batch_size": 32, "lr": 0.02, "groups": 2, "dropout": 0.0, "kl_weight": 0.05}),
    "emcdr-linear": ("emcdr", {"epochs": 40, "batch_size": 16}),
    "emcdr-mlp": ("emcdr", {"mapping": "mlp", "epochs": 40, "batch_size": 16}),
    "diffcdr-affine": ("diffcdr", {**FAST, "activation": "none", "guidance_scale": 1.0}),
    "diffcdr-silu": ("diffcdr", {**FAST, "schedule": "continuous", "guidance_scale": 1.0, "epochs": 4}),
    "diffcdr-users": ("diffcdr", {**FAST, "rows": "users", "epochs": 60, "activation": "none", "solver_order": 2}),
    "diffcdr-released": (
        "diffcdr",
        {
            **FAST,
            "activation": "none",
            "sampling_schedule": "continuous",
            "end_time": 1e-4,
            "dim_loss": "smooth_l1",
            "alm_loss": "smooth_l1",
            "time_frequencies": "to_the_end",
            "nfe": 20,
            "epochs": 10,
        },
    ),
    "diffcdr-gaussian": ("diffcdr", {**FAST, "activation": "none", "initial_state": "gaussian", "guidance_scale": 1.0}),
    "diffcdr-ddim": ("diffcdr", {**FAST, "sampler": "ddim", "guidance_scale": 1.0, "activation": "none"}),
    "diffcdr-ddpm": ("diffcdr", {**FAST, "sampler": "ddpm", "guidance_scale": 1.0, "activation": "none"}),
    "diffcdr-ddim-noisy": (
        "diffcdr",
        {**FAST, "sampler": "ddim", "eta": 0.5, "guidance_scale": 1.0, "epochs": 3, "skip": "time"},
    ),
    "diffcdr-multistep": ("diffcdr", {**FAST, "sampler": "dpm-solver++", "guidance_scale": 1.0, "activation": "none"}),
    "diffcdr-closed": ("diffcdr", {"form": "gaussian", "ridge_strengths": (1e-4, 1e-2, 1.0), "nfe": 12}),
    "diffcdr-robust": ("diffcdr", {"form": "robust", "history_dim": 8, "taste_dim": 4}),
    "diffcdr-da": ("diffcdr-da", {**FAST, "activation": "none", "guidance_scale": 1.0}),
    "diffcdr-at": ("diffcdr-at", {**FAST, "epochs": 15}),
    "diffcdr-at-task": ("diffcdr-at-task", {**FAST, "epochs": 15}),
}
HISTORIES = ("itemknn", "dual_ridge", "ease", "joint_als", "userknn", "gfcf", "slim")
"""Models of who has which items, held to a problem of such."""
VARIANTS |= {name: (name, {}) for name in HISTORIES}
BOUNDS = {
    "mean": 0.75,
    "bias": 0.75,
    "popular": 0.75,
    "tgt": 0.85,
    "ridge": 0.06,
    "cmf": 0.6,
    "cmf-released": 0.6,
    "sscdr-linear": 0.1,
    "sscdr-mlp": 0.15,
    "sscdr-released": 0.15,
    "lacdr-released": 0.1,
    "lacdr-linear": 0.1,
    "lacdr-tanh": 0.2,
    "ptupcdr": 0.2,
    "ptupcdr-padded": 0.2,
    "tmcdr-linear": 0.1,
    "tmcdr-mlp": 0.2,
    "dcdcsr-linear": 0.4,
    "dcdcsr-mlp": 0.4,
    "mwuf": 0.2,
    "ldiffrec": 0.25,
    "savae": 0.4,
    "cdrib": 0.45,
    "vdea": 0.4,
    "emcdr-linear": 0.06,
    "emcdr-mlp": 0.1,
    "diffcdr-affine": 0.4,
    "diffcdr-silu": 0.4,
    "diffcdr-users": 0.5,
    "diffcdr-released": 0.5,
    "diffcdr-gaussian": 0.5,
    "diffcdr-ddim": 0.4,
    "diffcdr-ddpm": 0.55,
    "diffcdr-ddim-noisy": 0.6,
    "diffcdr-multistep": 0.4,
    "diffcdr-closed": 0.06,
    "diffcdr-robust": 0.75,
    "diffcdr-da": 0.4,
    "diffcdr-at": 0.1,
    "diffcdr-at-task": 0.1,
}
"""Clipped RMSE that each reaches on the planted test users. The truth reaches 0.05; answering the mean, 0.69."""
FORMS: dict[str, type[BaseModel]] = {"gaussian": GaussianDiffCDRConfig, "robust": RobustDiffCDRConfig}
"""Settings of the forms of DiffCDR other than the network."""


def fit(variant: str, problem: TransferProblem, **others: Any) -> tuple[TransferModel, FitReport]:
    """``variant``, fitted with seed 0; ``others``: settings that replace its own."""
    name, settings = VARIANTS[variant]
    config = FORMS.get(settings.get("form", ""), MODELS[name].config)
    model = MODELS[name].create(config(**settings | others))
    return model, model.fit(problem, generator=torch.Generator().manual_seed(0))


def few(variant: str) -> dict[str, int]:
    """Settings of a brief training: every epoch goes on from the weights, the optimiser and the draws before it."""
    name, settings = VARIANTS[variant]
    config = FORMS.get(settings.get("form", ""), MODELS[name].config)
    return {key: 2 for key in ("epochs", "source_epochs") if key in config.model_fields}
