"""Grafana: datasources and dashboards to provision, and the Python that generates the dashboards."""
