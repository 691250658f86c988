"""The sensor that waits for a FeatureStore of the Feast operator."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseSensorOperator, conf

from airflow_provider_feast.model.events import raise_told
from airflow_provider_feast.model.literals import literal
from airflow_provider_feast.model.sources import check_object_name

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_feast.hooks.feast import FeastHook
    from airflow_provider_feast.model.feature_store import FeatureStoreState


class FeatureStoreReadySensor(BaseSensorOperator):
    """Wait until a ``FeatureStore`` resource (feast.dev/v1 or v1alpha1) exists and has the phase Ready.

    Airflow's account needs the rights that ``airflow feast manifests --allow feature-stores`` gives.

    :param feature_store: the resource's name.
    :param feast_conn_id: the `feast` connection, for the cluster and the namespace.
    :param namespace: where it is, instead of the connection's.
    :param fail_on_failed: the phase Failed fails the sensor at once, with the failing condition; ``False`` waits on, for
        the operator tries again.
    :param deferrable: wait in the triggerer, with a watch; else ``mode`` and ``poke_interval`` apply.
    :raises FeastDagError: at parse for a name that no resource can have.
    """

    template_fields: Sequence[str] = ("feature_store", "feast_conn_id", "namespace")

    def __init__(
        self,
        *,
        feature_store: str,
        feast_conn_id: str = "feast_default",
        namespace: str | None = None,
        fail_on_failed: bool = True,
        deferrable: bool | None = None,
        mode: str = "reschedule",
        poke_interval: float = 30.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(mode=mode, poke_interval=poke_interval, **kwargs)
        self.feature_store = feature_store
        self.feast_conn_id = feast_conn_id
        self.namespace = namespace
        self.fail_on_failed = fail_on_failed
        self.deferrable = (
            conf.getboolean("operators", "default_deferrable", fallback=False)
            if deferrable is None
            else deferrable
        )
        if literal(feature_store):
            check_object_name(feature_store, "feature_store")

    def execute(self, context: Context) -> Any:
        """Wait in the triggerer, or poke."""
        check_object_name(self.feature_store, "feature_store")
        if not self.deferrable:
            return super().execute(context)
        hook = self._hook()
        state, version = hook.feature_store(self.feature_store)
        if self._done(state):
            return None
        from airflow_provider_feast.triggers.feature_store import FeatureStoreTrigger

        trigger = FeatureStoreTrigger(
            hook.settings.kubernetes_conn_id,
            hook.namespace,
            self.feature_store,
            version,
            self.fail_on_failed,
        )
        return self.defer(
            trigger=trigger, method_name="resume", timeout=timedelta(seconds=float(self.timeout))
        )

    def poke(self, context: Context) -> bool:
        """Look once.

        :raises FeastError: when the cluster does not know such resources, or it has Failed.
        """
        state, _ = self._hook().feature_store(self.feature_store)
        return self._done(state)

    def resume(self, context: Context, event: dict[str, Any]) -> None:
        """Conclude after the triggerer saw the end of the wait.

        :raises FeastError: what the triggerer told.
        """
        raise_told(event)
        self.log.info("The FeatureStore %s is Ready.", self.feature_store)

    def _done(self, state: FeatureStoreState | None) -> bool:
        if state is None:
            self.log.info("There is no FeatureStore %s yet.", self.feature_store)
            return False
        self.log.info("In namespace %s, %s.", state.namespace, state.words)
        if state.failed and self.fail_on_failed:
            raise state.error()
        return state.ready

    def _hook(self) -> FeastHook:
        from airflow_provider_feast.hooks.feast import FeastHook

        return FeastHook(self.feast_conn_id, namespace=self.namespace)
