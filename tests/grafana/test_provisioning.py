"""What Grafana is provisioned with fits together; and so does compose.yaml, which needs Docker to be run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.gateway import METRICS_PATH
from grafana.generate.__main__ import FOLDER
from grafana.generate.datasources import DATASOURCES
from tests.grafana.plugins import FILES, load
from tests.services import require

PROJECT = Path(__file__).parents[2]
PROVISIONING = PROJECT / "grafana" / "provisioning"
IN_CONTAINER = Path("/etc/grafana")
COMPOSE = yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def provisioned() -> dict[str, Any]:
    files = sorted((PROVISIONING / "datasources").glob("*.yaml"))
    return {one["uid"]: one for file in files for one in read(file)["datasources"]}


def test_every_datasource_a_dashboard_uses_is_provisioned_under_its_uid_and_type() -> None:
    assert {uid: one["type"] for uid, one in provisioned().items()} == {one.uid: one.plugin for one in DATASOURCES}
    assert provisioned()["grafana_json_api"]["type"] == "grafana-simple-json-datasource"
    for file in FILES:
        for used in re.findall(r'"datasource": (\{[^}]*\})', json.dumps(load(file))):
            assert provisioned()[json.loads(used)["uid"]]["type"] == json.loads(used)["type"]


def test_datasources_are_asked_by_grafanas_server_and_hold_no_secret() -> None:
    for one in provisioned().values():
        assert one["access"] == "proxy"
        assert one["url"] == "$BRIDGE_URL"
        assert "secureJsonData" not in one


def test_every_folder_of_dashboards_is_provisioned() -> None:
    providers = read(PROVISIONING / "dashboards" / "provider-health-bridge.yaml")["providers"]
    paths = {Path(one["options"]["path"]).relative_to(IN_CONTAINER / "dashboards") for one in providers}
    assert paths == {file.parent.relative_to(FOLDER) for file in FILES}
    assert len({one["name"] for one in providers}) == len({one["folder"] for one in providers}) == len(providers)


def test_compose_has_the_whole_picture() -> None:
    assert list(SERVICES) == ["gateway", "bridge", "prometheus", "alertmanager", "grafana"]
    named = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert {name for name in named if not name.startswith(".")} == set(COMPOSE["volumes"])
    for service in SERVICES.values():
        assert set(service.get("depends_on", ())) <= set(SERVICES)


def test_images_are_pinned_and_ports_stay_on_this_machine() -> None:
    images = [service["image"] for service in SERVICES.values() if "image" in service]
    assert all(re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", image) for image in images)
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


def mounts() -> list[tuple[str, str]]:
    """Host paths that are mounted, and where."""
    given = [volume for service in SERVICES.values() for volume in service.get("volumes", ())]
    return [(volume.split(":")[0], volume.split(":")[1]) for volume in given if volume.startswith(".")]


@pytest.mark.parametrize(("host", "_inside"), mounts())
def test_every_mounted_path_is_there(host: str, _inside: str) -> None:
    if host.startswith("./prometheus/") and not (PROJECT / "prometheus").is_dir():
        pytest.skip("prometheus/ is not there yet")
    assert (PROJECT / host).exists()


def test_our_own_services_run_what_the_image_holds() -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    ours = {name: service for name, service in SERVICES.items() if "build" in service}
    assert list(ours) == ["gateway", "bridge"]
    assert all(service["build"] == "." for service in ours.values())
    assert "COPY demo ./demo" in dockerfile
    assert "command" not in ours["bridge"]
    assert ours["bridge"]["ports"] == ["127.0.0.1:5050:5050"]
    assert "EXPOSE 5050" in dockerfile
    assert ours["bridge"]["volumes"] == ["history:/data"]
    assert "DATA_DIR=/data" in dockerfile


def test_the_bridge_polls_the_demo_gateway_where_its_command_serves_it() -> None:
    command = SERVICES["gateway"]["command"]
    port = command[command.index("--port") + 1]
    environment = SERVICES["bridge"]["environment"]
    assert environment["GATEWAYZ_API_URL"] == f"${{GATEWAYZ_API_URL:-http://gateway:{port}}}"
    assert environment["GATEWAY_METRICS_PATH"] == f"${{GATEWAY_METRICS_PATH:-{METRICS_PATH}}}"
    arguments = [sys.executable, *command[1:-1], "0"]
    with subprocess.Popen(arguments, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as gateway:
        assert gateway.stdout is not None
        assert "0.0.0.0" in gateway.stdout.readline()
        gateway.terminate()


def test_the_bridge_accepts_the_environment_that_compose_gives_it() -> None:
    given = {
        name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in SERVICES["bridge"]["environment"].items()
    }
    command = [
        sys.executable,
        "-c",
        "import os; from bridge.configuration import configured; print(configured(os.environ))",
    ]
    done = subprocess.run(
        command, cwd=PROJECT, env={"PATH": os.environ["PATH"], **given}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "history_retention_seconds=1296000" in done.stdout


def test_grafana_gets_the_plugins_the_flag_and_the_url_that_provisioning_needs() -> None:
    grafana = SERVICES["grafana"]["environment"]
    assert set(plugins()) == {one.plugin for one in DATASOURCES}
    assert grafana["GF_SECURITY_ANGULAR_SUPPORT_ENABLED"] == "true"
    assert (grafana["GF_AUTH_ANONYMOUS_ENABLED"], grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"]) == ("true", "Viewer")
    assert grafana["BRIDGE_URL"] == "http://bridge:5050"
    home = Path(grafana["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    [host] = [host for host, inside in mounts() if inside == str(IN_CONTAINER / "dashboards")]
    assert (PROJECT / host / home.relative_to(IN_CONTAINER / "dashboards")).is_file()


def plugins() -> dict[str, str]:
    """The plugins that compose has Grafana install, with their versions (empty for the newest)."""
    installed = SERVICES["grafana"]["environment"]["GF_INSTALL_PLUGINS"].split(",")
    return {name: version for name, _, version in (plugin.partition(" ") for plugin in installed)}


def test_grafana_runs_the_plugins_it_installs() -> None:
    version = SERVICES["grafana"]["image"].rpartition(":")[2].split(".")
    assert plugins()["yesoreyeram-infinity-datasource"].startswith("3.11.")
    assert (11, 6) <= (int(version[0]), int(version[1])) < (12, 0), "Infinity 3.11 needs 11.6, Simple JSON Angular"
    infinity = (PROVISIONING / "datasources" / "infinity.yaml").read_text(encoding="utf-8")
    assert infinity.startswith("# Infinity (plugin yesoreyeram-infinity-datasource, version 3.11): Grafana 11.6 and")


def test_infinitys_save_and_test_asks_whether_the_bridge_is_ready() -> None:
    settings = provisioned()["provider_health_bridge_infinity"]["jsonData"]
    assert settings["customHealthCheckEnabled"] is True
    assert settings["customHealthCheckUrl"] == "${BRIDGE_URL}/ready"
    assert settings["allowedHosts"] == ["$BRIDGE_URL"]


def test_prometheus_scrapes_the_bridge_and_alerts_where_alertmanager_listens() -> None:
    config = read(PROJECT / "compose" / "prometheus.yml")
    [job] = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["bridge:5050"]}]
    [alerting] = config["alerting"]["alertmanagers"]
    assert alerting["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    rules = [inside for host, inside in mounts() if host == "./prometheus/rules"]
    assert config["rule_files"] == [f"{rules[0]}/*.yml"]


@pytest.mark.service
def test_prometheus_itself_accepts_its_configuration() -> None:
    command = [require("promtool"), "check", "config", "--syntax-only", "compose/prometheus.yml"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
