"""The chaos suite: random faults and kills against real processes of Airflow on the sandbox (``docs/testing.md``)."""
