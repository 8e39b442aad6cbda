"""Write serve/config.yaml into base/service.yaml, without its comments: `python infra/kuberay/serve_config.py`."""

import re
import textwrap
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SERVICE = Path(__file__).parent / "base" / "service.yaml"


def with_serve_config(service: str, config: str) -> str:
    """Return the RayService with `config` as its serveConfigV2.

    Args:
        service: the text of base/service.yaml.
        config: the text of serve/config.yaml.

    Raises:
        LookupError: the service has no field serveConfigV2 followed by rayClusterConfig.
    """
    plain = yaml.safe_dump(yaml.safe_load(config), sort_keys=False, width=100)
    block = f"  serveConfigV2: |\n{textwrap.indent(plain, ' ' * 4)}"
    changed, count = re.subn(
        r"^  serveConfigV2:.*?(?=^  rayClusterConfig:)", lambda _: block, service, flags=re.MULTILINE | re.DOTALL
    )
    if count != 1:
        raise LookupError(f"{count} places for serveConfigV2, expected one before rayClusterConfig")
    return changed


if __name__ == "__main__":
    SERVICE.write_text(with_serve_config(SERVICE.read_text(), (ROOT / "serve" / "config.yaml").read_text()))
