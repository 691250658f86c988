"""The operators: one for any Feast command, and one for each command that people run from DAGs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_feast.model.command import FeastCommand, check_deletions
from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.literals import literal
from airflow_provider_feast.model.windows import Window
from airflow_provider_feast.operators.command import FeastCommandOperator, refuse_command
from airflow_provider_feast.operators.materialize import (
    FeastMaterializeIncrementalOperator,
    FeastMaterializeOperator,
)
from airflow_provider_feast.operators.repair import FeastRepairOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

__all__ = [
    "FeastApplyOperator",
    "FeastCommandOperator",
    "FeastMaterializeIncrementalOperator",
    "FeastMaterializeOperator",
    "FeastPlanOperator",
    "FeastRepairOperator",
    "FeastTeardownOperator",
]


class FeastApplyOperator(FeastCommandOperator):
    """``feast apply``: bring the registry and the stores to what the definitions say.

    :param allow_deletions: delete what the definitions lack, online tables included: ``True`` for all of it, or a list of
        those that may go, as ``changes.delete`` of a plan's result names them (``["FeatureView driver_stats"]``). Else
        that is refused, before anything is changed, with a list of it.
    :param skip_source_validation: do not look at the data sources.
    :param skip_feature_view_validation: do not look at the feature views.
    """

    template_fields: Sequence[str] = (*FeastCommandOperator.template_fields, "allow_deletions")

    def __init__(
        self,
        *,
        allow_deletions: bool | list[str] = False,
        skip_source_validation: bool = False,
        skip_feature_view_validation: bool = False,
        **kwargs: Any,
    ) -> None:
        refuse_command(kwargs)
        self.allow_deletions = allow_deletions
        self.skip_source_validation = skip_source_validation
        self.skip_feature_view_validation = skip_feature_view_validation
        super().__init__(**kwargs)

    def _check_literals(self) -> None:
        super()._check_literals()
        if literal(self.allow_deletions):
            check_deletions(self.allow_deletions)

    @property
    def deletions_allowed(self) -> bool | tuple[str, ...]:
        """As the author says.

        :raises FeastDagError: when it is neither a flag nor a list of objects.
        """
        return check_deletions(self.allow_deletions)

    def feast_command(self, context: Context) -> tuple[FeastCommand, Window | None]:
        """``apply`` with its options."""
        return FeastCommand.apply(
            skip_source_validation=self.skip_source_validation,
            skip_feature_view_validation=self.skip_feature_view_validation,
        ), None


class FeastPlanOperator(FeastApplyOperator):
    """``feast plan``: print what ``apply`` would change, and change nothing. Parameters as for apply."""

    def feast_command(self, context: Context) -> tuple[FeastCommand, Window | None]:
        """``plan`` with its options."""
        return FeastCommand.plan(
            skip_source_validation=self.skip_source_validation,
            skip_feature_view_validation=self.skip_feature_view_validation,
        ), None


class FeastTeardownOperator(FeastCommandOperator):
    """``feast teardown``: delete the feature store's infrastructure and its registry. There is no way back.

    :param confirm: the project's name, to show that this very one is meant; it is compared with the configuration's
        ``project`` before anything runs.
    """

    template_fields: Sequence[str] = (*FeastCommandOperator.template_fields, "confirm")

    def __init__(self, *, confirm: str | None = None, **kwargs: Any) -> None:
        refuse_command(kwargs)
        self.confirm = confirm
        super().__init__(**kwargs)

    def _check_literals(self) -> None:
        super()._check_literals()
        if not self.confirm:
            raise FeastDagError(
                "feast teardown deletes the online store's tables and the registry, and was not confirmed",
                where=f"task {self.task_id!r}",
                remedy="give confirm= the name of the project in feature_store.yaml",
            )

    def feast_command(self, context: Context) -> tuple[FeastCommand, Window | None]:
        """``teardown``, when the configured project is the confirmed one."""
        if self._run is not None:
            self._run.confirm_project(self.confirm)
        return FeastCommand.teardown(), None
