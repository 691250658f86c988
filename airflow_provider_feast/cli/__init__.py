"""``airflow feast …``: what people ask of this provider on the command line."""
