"""From a container's declaration to a process: command, environment, working directory, mounts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_feast.sandbox.images import Image
from airflow_provider_feast.sandbox.pods import env, volumes
from airflow_provider_feast.sandbox.pods.process import Bind, ProcessSpec
from airflow_provider_feast.sandbox.pods.volumes import VolumeHost
from airflow_provider_feast.sandbox.shapes import Obj


@dataclass(frozen=True)
class Node:
    """What containers share: where things lie, which API they see, and how paths are made real."""

    host: VolumeHost
    root: Path
    api_address: tuple[str, int]
    isolated: bool
    find_image: Callable[[str], Image | None]


class PodPlan:
    """The directories of one pod, and the plans of its containers."""

    def __init__(self, node: Node, pod: Obj) -> None:
        self.node = node
        self.pod = pod
        self.root = node.root / "pods" / str(pod["metadata"]["uid"])
        self._volumes: dict[str, Path] = {}

    def mount(self) -> None:
        """Make all volumes; raises MountError (it may be called again)."""
        (self.root / "rootfs").mkdir(parents=True, exist_ok=True)
        found = self.pod["spec"].get("volumes") or ()
        plain = [v for v in found if "emptyDir" in v or "persistentVolumeClaim" in v or "hostPath" in v]
        text = [v for v in found if v not in plain]
        for volume in text:
            self._volumes[volume["name"]] = self._place(volume)
        for volume in plain:
            self._volumes[volume["name"]] = self._mount(volume, lambda data: data)
        mapping = {} if self.node.isolated else self._pod_mapping()
        rewrite = volumes.text_rewriter(mapping)
        for volume in text:
            self._mount(volume, rewrite)

    def volume(self, name: str) -> Path:
        """Where a mounted volume lies."""
        return self._volumes[name]

    def _place(self, volume: Obj) -> Path:
        return self.root / "volumes" / str(volume["name"])

    def _mount(self, volume: Obj, rewrite: volumes.Rewrite) -> Path:
        return volumes.mount(self.node.host, self.pod, volume, self._place(volume), rewrite)

    def _containers(self) -> list[Obj]:
        spec = self.pod["spec"]
        return [*spec["containers"], *(spec.get("initContainers") or ())]

    def _pod_mapping(self) -> dict[str, str]:
        """Mount paths of all containers; where two differ, the first main container decides."""
        mapping: dict[str, str] = {}
        for container in reversed(self._containers()):
            image = self.node.find_image(container["image"])
            mapping |= self._mapping(container, image or Image(), {}, make=False)
        return mapping

    def _mapping(
        self, container: Obj, image: Image, variables: dict[str, str], make: bool = True
    ) -> dict[str, str]:
        mapping = dict(image.root)
        for bind in self._binds(container, variables, make):
            mapping[bind.target] = bind.source
        mapping[container["terminationMessagePath"]] = str(self.termination_file(container))
        return mapping

    def termination_file(self, container: Obj) -> Path:
        return self.root / "termination" / str(container["name"])

    def log_file(self, container: Obj, attempt: int) -> Path:
        return self.root / "logs" / f"{container['name']}-{attempt}.log"

    def _binds(self, container: Obj, variables: dict[str, str], make: bool = True) -> list[Bind]:
        """What is mounted where; a missing subPath is made as a directory, but only when the container starts."""
        binds = []
        for mount in container.get("volumeMounts") or ():
            source = self._volumes[mount["name"]]
            sub = mount.get("subPath") or env.expand(mount.get("subPathExpr") or "", variables)
            if sub:
                source = source / sub
            kind = next(v for v in self.pod["spec"]["volumes"] if v["name"] == mount["name"])
            text = any(key in kind for key in ("configMap", "secret", "projected", "downwardAPI"))
            if sub and not text and make and not source.is_file():
                source.mkdir(parents=True, exist_ok=True)
            elif sub and text:
                source = source.resolve()  # a mounted file is no link, wherever it comes from
            target = "/" + mount["mountPath"].strip("/")
            binds.append(Bind(str(source), target, text or bool(mount.get("readOnly"))))
        return binds

    def spec(self, container: Obj, image: Image) -> ProcessSpec:
        """The process of one run of a container; raises ConfigError."""
        self._check_user(container, image)
        declared = env.declared(self.node.host.store, self.pod, container)
        service = {"KUBERNETES_SERVICE_HOST": self.node.api_address[0]}
        service["KUBERNETES_SERVICE_PORT"] = str(self.node.api_address[1])
        variables = {**service, **declared}
        binds = self._binds(container, variables)
        command = [env.expand(part, variables) for part in (container.get("command") or ())]
        command += [env.expand(part, variables) for part in (container.get("args") or ())]
        if not command:
            raise env.ConfigError(
                "no command specified: the sandbox's images have no entrypoint of their own"
            )
        termination = self.termination_file(container)
        termination.parent.mkdir(parents=True, exist_ok=True)
        termination.write_bytes(b"")
        home = {"HOME": "/", "HOSTNAME": self.hostname}
        whole = {**image.environment(), **home, **service}
        if not self.node.isolated:
            return self._mapped(container, image, (command, whole, declared))
        binds.append(Bind(str(termination), container["terminationMessagePath"]))
        user, group = self.user(container, image)
        context = container.get("securityContext") or {}
        return ProcessSpec(
            argv=tuple(command),
            env={**whole, **declared},
            cwd=container.get("workingDir") or "/",
            hostname=self.hostname,
            binds=(*(Bind(local, inside, True) for inside, local in image.root.items()), *binds),
            visible=image.path,
            read_only_root=bool(context.get("readOnlyRootFilesystem")),
            user=user,
            group=group,
        )

    def _mapped(
        self, container: Obj, image: Image, parts: tuple[list[str], dict[str, str], dict[str, str]]
    ) -> ProcessSpec:
        command, whole, declared = parts
        mapping = self._mapping(container, image, {**whole, **declared})
        rewrite = volumes.path_rewriter(mapping)
        whole = {**whole, "HOME": str(self.root / "rootfs")}
        if "/tmp" in mapping:  # noqa: S108 - a path of the container
            whole["TMPDIR"] = mapping["/tmp"]  # noqa: S108
        mapped = {key: rewrite(value) for key, value in declared.items()}
        return ProcessSpec(
            argv=tuple(rewrite(part) for part in command),
            env={**whole, **mapped},
            cwd=self._mapped_directory(container.get("workingDir") or "/", rewrite),
            hostname=self.hostname,
        )

    def rewritten(
        self, container: Obj, image: Image, command: list[str], variables: dict[str, str]
    ) -> tuple[str, ...]:
        """A further command of a container whose paths are mapped."""
        rewrite = volumes.path_rewriter(self._mapping(container, image, variables))
        return tuple(rewrite(part) for part in command)

    def _mapped_directory(self, wanted: str, rewrite: Callable[[str], str]) -> str:
        found = rewrite(wanted)
        if found != wanted:
            return found
        local = self.root / "rootfs" / wanted.strip("/")
        local.mkdir(parents=True, exist_ok=True)
        return str(local)

    @property
    def hostname(self) -> str:
        return str(self.pod["spec"].get("hostname") or self.pod["metadata"]["name"])[:63]

    def user(self, container: Obj, image: Image) -> tuple[int, int]:
        """Numeric user and group: of the container, else the pod, else the image."""
        own = container.get("securityContext") or {}
        pod = self.pod["spec"].get("securityContext") or {}
        user = own.get("runAsUser", pod.get("runAsUser", image.user))
        return user, own.get("runAsGroup", pod.get("runAsGroup", 0))

    def _check_user(self, container: Obj, image: Image) -> None:
        own = container.get("securityContext") or {}
        pod = self.pod["spec"].get("securityContext") or {}
        required = own.get("runAsNonRoot", pod.get("runAsNonRoot"))
        if not required or self.user(container, image)[0] != 0:
            return
        explicit = own.get("runAsUser", pod.get("runAsUser")) == 0
        why = (
            "container's runAsUser breaks non-root policy"
            if explicit
            else ("container has runAsNonRoot and image will run as root")
        )
        meta = self.pod["metadata"]
        where = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
        raise env.ConfigError(f'{why} (pod: "{where}", container: {container["name"]})')
