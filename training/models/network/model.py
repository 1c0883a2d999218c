"""DiffCDR: a diffusion module, a fast solver and an alignment module (paper, section 3)."""

from __future__ import annotations

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn

from diffcdr.errors import InputError
from training.evaluation.judging import epoch_criterion, epoch_figures
from training.fitting.checkpoint import CheckpointFile, run_settings
from training.fitting.loop import FitReport, Progress, Training, run_epochs
from training.models.batching import blockwise
from training.models.contract import TransferModel, fitted
from training.models.diffusion.sampler import Sampler
from training.models.diffusion.user_draws import user_draws
from training.models.network.affine_updates import AffineUpdates
from training.models.network.alternating import AlternatingUpdates
from training.models.network.config import DiffCDRConfig
from training.models.network.network import DiffCDRNetwork, folder, solver_plan
from training.problem import ScoringHead, TransferProblem


class DiffCDR(TransferModel):
    """Diffusion-based cross-domain recommendation; see :class:`DiffCDRConfig` for what can be set."""

    name = "diffcdr"

    def __init__(self, config: DiffCDRConfig) -> None:
        self.config = config
        self._network: DiffCDRNetwork | None = None
        self._head: ScoringHead | None = None
        self._source_vectors: Tensor | None = None

    def fit(
        self,
        problem: TransferProblem,
        *,
        generator: torch.Generator,
        progress: Progress | None = None,
        checkpoint: CheckpointFile | None = None,
    ) -> FitReport:
        """Alg. 1, lines 3 to 12; the epoch with the lowest validation error is kept."""
        config, vectors = self.config, problem.source_base.user_vectors
        self._network = DiffCDRNetwork(
            config, source_dim=problem.source_base.dim, target_dim=problem.target_base.dim, generator=generator
        )
        draws = _draws(config, problem, generator=generator)
        self._source_vectors = vectors if draws is None else torch.cat([vectors, draws], dim=1)
        return self._train(problem, generator=generator, progress=progress, checkpoint=checkpoint)

    def fine_tuned(self, problem: TransferProblem, *, generator: torch.Generator) -> tuple[Self, FitReport]:
        """A copy that goes on with Alg. 1, with optimisers begun anew, for as many epochs as :meth:`fit`."""
        again = copy.copy(self)
        again._network = copy.deepcopy(fitted(self._network))
        return again, again._train(problem, generator=generator)

    def _train(
        self,
        problem: TransferProblem,
        *,
        generator: torch.Generator,
        progress: Progress | None = None,
        checkpoint: CheckpointFile | None = None,
    ) -> FitReport:
        config, network = self.config, fitted(self._network)
        self._head = problem.target_base.head()
        draws = self.source_vectors()[:, problem.source_base.dim :] if self.draws else None
        kind = AffineUpdates if network.noise_predictor.is_affine else AlternatingUpdates
        updates = kind(network, config, problem=problem, draws=draws)
        held_out = problem.validation

        def validate() -> dict[str, float]:
            vectors = self.transfer(self.source_vectors()[held_out.source_rows])
            return epoch_figures(vectors, held_out, head=self.head(), rating_range=problem.rating_range)

        return run_epochs(
            Training(
                module=network,
                optimizers=updates.optimizers,
                train_epoch=updates.epoch,
                rows=updates.rows,
                validate=validate,
            ),
            epochs=config.epochs,
            select_by=epoch_criterion(self.head(), config.select_by),
            generator=generator,
            settings=run_settings(self.name, config, generator=generator, data=updates.data()),
            progress=progress,
            checkpoint=checkpoint,
        )

    @property
    def draws(self) -> bool:
        """Whether the sampler draws noise."""
        return solver_plan(self.config).draws > 0

    def with_guidance(self, scale: float) -> Self:
        """The same trained weights, sampled with guidance ``scale`` (s of Eq. 3)."""
        other = copy.copy(self)
        other.config = self.config.model_copy(update={"guidance_scale": scale})
        return other

    def source_vectors(self) -> Tensor:
        """The source base model's user vectors; beside each, what the sampler draws for that user, if it draws."""
        return fitted(self._source_vectors)

    def head(self) -> ScoringHead:
        """The target base model's items."""
        return fitted(self._head)

    def transfer(self, vectors: Tensor) -> Tensor:
        """Guidance, solver and ALM, in the dtype of ``vectors``."""
        sampler = self._sampler(dtype=vectors.dtype)
        with torch.no_grad():
            return blockwise(sampler, vectors, width=fitted(self._network).noise_predictor.target_dim)

    def diffuse(self, vectors: Tensor, *, nfe: int) -> Tensor:
        """What guidance and solver alone make of ``vectors`` in ``nfe`` evaluations, before the ALM.

        Raises:
            InputError: the sampler draws, and ``vectors`` hold too little noise: that of the settings' evaluations.
        """
        network = copy.deepcopy(fitted(self._network)).to(vectors.dtype).requires_grad_(False).eval()
        plan = solver_plan(self.config.model_copy(update={"nfe": nfe}))
        if self.draws and nfe > self.config.nfe:
            raise InputError(
                f"{self.config.sampler} keeps noise for {self.config.nfe} evaluations, and {nfe} are asked for; "
                f"set diffcdr.nfe={nfe}"
            )
        sampler = Sampler(
            network.noise_predictor,
            plan,
            guidance_scale=self.config.guidance_scale,
            initial_state=network.initial_state,
            alignment=nn.Identity(),
        ).eval()
        with torch.no_grad():
            return blockwise(sampler, vectors, width=network.noise_predictor.target_dim)

    def fold(self) -> tuple[Tensor, Tensor] | None:
        """The whole transfer as one affine map, where the DIM has no activation."""
        network = fitted(self._network)
        if not network.noise_predictor.is_affine:
            return None
        solved = folder(self.config).fold(network.noise_predictor, initial_state=network.initial_state)
        folded = solved.then(network.alignment)
        return torch.from_numpy(folded.matrix), torch.from_numpy(folded.offset)

    def export_module(self) -> nn.Module:
        """The solver graph in float32: a copy, in evaluation mode."""
        return self._sampler(dtype=torch.float32)

    def details(self) -> dict[str, Any]:
        """Every setting of the method, and the solver's orders."""
        return {
            **self.config.model_dump(mode="json"),
            "sampling_schedule": self.config.effective_sampling_schedule,
            "step_orders": list(solver_plan(self.config).orders),
        }

    def _sampler(self, *, dtype: torch.dtype) -> Sampler:
        network = copy.deepcopy(fitted(self._network)).to(dtype).requires_grad_(False).eval()
        return Sampler(
            network.noise_predictor,
            solver_plan(self.config),
            guidance_scale=self.config.guidance_scale,
            initial_state=network.initial_state,
            alignment=network.alignment,
        ).eval()


def _draws(config: DiffCDRConfig, problem: TransferProblem, *, generator: torch.Generator) -> Tensor | None:
    """What the sampler draws for each source user, float32 [n_source_users, draws * k]; None where it draws nothing."""
    count = solver_plan(config).draws
    if not count:
        return None
    if problem.source_ids is None:
        raise InputError(
            f"{config.sampler} draws noise by user id, and the source users have no ids here; use a deterministic "
            "sampler: diffcdr.sampler=dpm-solver"
        )
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return user_draws(problem.source_ids, seed=seed, width=count * problem.target_base.dim)
