"""`podFailurePolicy`: what a failed pod means for its Job."""

from dataclasses import dataclass

from airflow_provider_feast.sandbox.shapes import Obj

COUNT, IGNORE, FAIL_INDEX, FAIL_JOB = "Count", "Ignore", "FailIndex", "FailJob"


@dataclass(frozen=True)
class Verdict:
    """The action of the first rule that matches, and its words (for FailJob)."""

    action: str
    message: str = ""


def judge(policy: Obj | None, pod: Obj) -> Verdict:
    """Apply the rules in order; a pod that none matches counts."""
    for at, rule in enumerate((policy or {}).get("rules") or ()):
        why = _exit_code(rule, pod) if rule.get("onExitCodes") else _condition(rule, pod)
        if why:
            return Verdict(rule["action"], f"{why} matching {rule['action']} rule at index {at}")
    return Verdict(COUNT)


def _exit_code(rule: Obj, pod: Obj) -> str:
    wanted = rule["onExitCodes"]
    status = pod["status"]
    for container in (*status.get("containerStatuses", ()), *status.get("initContainerStatuses", ())):
        code = (container["state"].get("terminated") or {}).get("exitCode", 0)
        if code == 0 or wanted.get("containerName") not in {None, container["name"]}:
            continue
        if (code in wanted["values"]) == (wanted["operator"] == "In"):
            return f"Container {container['name']} for pod {_name(pod)} failed with exit code {code}"
    return ""


def _condition(rule: Obj, pod: Obj) -> str:
    for pattern in rule.get("onPodConditions") or ():
        for condition in pod["status"].get("conditions") or ():
            if (condition["type"], condition["status"]) == (pattern["type"], pattern.get("status", "True")):
                return f"Pod {_name(pod)} has condition {condition['type']}"
    return ""


def _name(pod: Obj) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
