"""While a plan is loaded: its progress for the task's log, and a note on the Job of what its pods wrote."""

from __future__ import annotations

from typing import Any

from airflow_provider_feast.jobs.async_api import AsyncApi
from airflow_provider_feast.jobs.logs import Say
from airflow_provider_feast.jobs.plan_progress import noted_totals, plan_progress, progress_line
from airflow_provider_feast.jobs.pod_view import pods_of
from airflow_provider_feast.model.errors import FeastError
from airflow_provider_feast.model.naming import A_TOTALS


class PlanNotes:
    """What one wait tells and notes of a plan; of a Job without chunks, nothing."""

    def __init__(self, api: AsyncApi, say: Say) -> None:
        self._api, self._say = api, say
        self._told: frozenset[int] = frozenset()
        self._noted: frozenset[int] = frozenset()

    async def take(self, job: dict[str, Any], pods: list[dict[str, Any]]) -> None:
        """Tell how far the plan is, and note what finished pods wrote: they may be gone when the Job ends.

        A node that is removed takes its finished pods with it, and a triggerer that is restarted has not seen them.

        :param job: as last seen.
        :param pods: as last seen; also those that are gone.
        """
        views = pods_of(job, pods)
        progress = plan_progress(job, views)
        if progress is None:
            return
        if progress.done - self._told:
            self._told = progress.done
            self._say(*progress_line(job, views, progress))
        known = progress.totals.chunks
        if known in (self._noted, noted_totals(job).chunks):
            return
        self._noted = known
        own = job["metadata"]
        metadata = {"uid": own["uid"], "annotations": {A_TOTALS: progress.totals.to_json()}}
        try:
            await self._api.patch_job(own["namespace"], own["name"], {"metadata": metadata}, (404, 409))
        except FeastError as error:
            self._say(f"What is done so far could not be noted on the Job: {error}")
