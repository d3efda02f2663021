"""Model and server of Triton's probes: readiness, metadata and the config that PyTriton reads."""

from __future__ import annotations

from typing import Any

from cluster import __version__
from cluster.config import HttpConfig
from cluster.serving.http.dialects.endpoint import Probe
from cluster.serving.http.dialects.triton.errors import kserve_error

NAME, VERSION = "reward_model", "1"
PATHS = (f"/v2/models/{NAME}", f"/v2/models/{NAME}/versions/{VERSION}")
INPUTS = {"sentences": "BYTES", "tokens": "INT64", "sequence_lengths": "INT64", "add_EOS": "BOOL"}
"""Datatypes; the order is that of a client's arguments without names."""
OUTPUT = "rewards"
WIDTHS = {"tokens": -1}
"""Elements of a sample, where it is not one."""


def _server(config: HttpConfig) -> Any:
    extensions = ["binary_tensor_data", "model_configuration"]
    return {"name": "reward-cluster", "version": __version__, "extensions": extensions}


def _model(config: HttpConfig) -> Any:
    inputs = [
        {"name": name, "datatype": datatype, "shape": [-1, WIDTHS.get(name, 1)]}
        for name, datatype in INPUTS.items()
    ]
    return {
        "name": NAME,
        "versions": [VERSION],
        "platform": "reward-cluster",
        "inputs": inputs,
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, 1]}],
    }


def _config(config: HttpConfig) -> Any:
    inputs = [
        {
            "name": name,
            "data_type": f"TYPE_{datatype.replace('BYTES', 'STRING')}",
            "dims": [WIDTHS.get(name, 1)],
            "optional": True,
        }
        for name, datatype in INPUTS.items()
    ]
    return {
        "name": NAME,
        "platform": "reward-cluster",
        "max_batch_size": config.max_items,
        "input": inputs,
        "output": [{"name": OUTPUT, "data_type": "TYPE_FP32", "dims": [1]}],
    }


def _unknown(config: HttpConfig) -> Any:
    return {"error": f"the one model is {NAME}, version {VERSION}"}


PROBES = (
    Probe(("/v2/health/live",), lambda config: None, kserve_error),
    Probe(
        ("/v2/health/ready", *(f"{path}/ready" for path in PATHS)),
        lambda config: None,
        kserve_error,
        when_ready=True,
    ),
    Probe(("/v2",), _server, kserve_error),
    Probe(PATHS, _model, kserve_error),
    Probe(tuple(f"{path}/config" for path in PATHS), _config, kserve_error),
    Probe(
        ("/v2/models/{other:path}",),
        _unknown,
        kserve_error,
        status=404,
        methods=("GET", "HEAD", "POST"),
    ),
)
