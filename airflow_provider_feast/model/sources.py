"""The value objects of a command's configuration, definitions and environment: what a DAG imports."""

from airflow_provider_feast.model.configurations import (
    CONFIG_BYTES,
    CONFIG_KEY,
    PATCH_KEY,
    ConfigMapConfiguration,
    Configuration,
    FeatureStoreConfiguration,
    InlineConfiguration,
    SecretConfiguration,
    check_feature_store,
    merge_patch,
    read_configuration,
    read_patch,
)
from airflow_provider_feast.model.definitions import (
    ConfigMapDefinitions,
    Definitions,
    GitDefinitions,
    ImageDefinitions,
    VolumeDefinitions,
    read_definitions,
)
from airflow_provider_feast.model.environment import ConfigMapRef, SecretRef
from airflow_provider_feast.model.names import check_key, check_object_name, check_path, check_subdirectory

__all__ = [
    "CONFIG_BYTES",
    "CONFIG_KEY",
    "PATCH_KEY",
    "ConfigMapConfiguration",
    "ConfigMapDefinitions",
    "ConfigMapRef",
    "Configuration",
    "Definitions",
    "FeatureStoreConfiguration",
    "GitDefinitions",
    "ImageDefinitions",
    "InlineConfiguration",
    "SecretConfiguration",
    "SecretRef",
    "VolumeDefinitions",
    "check_feature_store",
    "check_key",
    "check_object_name",
    "check_path",
    "check_subdirectory",
    "merge_patch",
    "read_configuration",
    "read_definitions",
    "read_patch",
]
