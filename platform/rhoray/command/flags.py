"""Flags and help of every command; imports nothing heavy."""

import argparse
import os
from pathlib import Path

import rhoray
from rhoray.command.job_scripts import job_names

DEFAULT_URL = "http://127.0.0.1:8000"
URL_VARIABLE = "RHORAY_URL"
FILES = "CHGCAR, CHG, cube, CIF or POSCAR, plain or as .gz, .bz2, .xz"
PICTURES = (".png", ".html")

START = """\
first steps:
  rhoray doctor                        is all there that is needed?
  rhoray predict crystal.cif           properties with 90 % intervals, from the packaged model
  rhoray info CHGCAR                   what is in this density, and is it sound?
  rhoray plot CHGCAR --out rho.png     look at it
  rhoray serve                         the same over HTTP, with a page to drop files on

Every command has --help and --json. Colour is for terminals only (NO_COLOR turns it off).
Tab completion: eval "$(register-python-argcomplete rhoray)"
"""
PREDICT = f"""\
Predict bulk, shear and Young's modulus (GPa), Debye temperature (K), formation and cohesive energy (eV/atom), each with
its 90 % interval. A file is a {FILES};
of a CIF or POSCAR the free atoms are superposed. Without --url all is done here, with the packaged model.
"""
PREDICT_MORE = f"""\
examples:
  rhoray predict crystal.cif
  rhoray predict */CHGCAR --out table.csv
  rhoray predict CHGCAR --json | jq .predictions
  rhoray predict CHGCAR --url {DEFAULT_URL}

A file that can't be used is a line (with --out a row) with the reason. For a bucket or a whole folder:
rhoray jobs predict. An endpoint's token is read from RHORAY_API_TOKEN.
Exit status: 0 done, 1 failed or no file could be used, 2 bad arguments.
"""
INFO = f"""\
Say what is in a file ({FILES}): formula, cell, grid, electrons; and
check it: does it read, do electrons and atoms fit, is there too much negative charge, does the packaged model know such
crystals?
"""
INFO_MORE = """\
examples:
  rhoray info CHGCAR
  rhoray info CHGCAR --json | jq .electrons

Exit status: 0 readable, 1 not (the reason says what to do), 2 bad arguments.
"""
PLOT = """\
Draw a density: a slice of the cell normal to one lattice vector, and the surface where the density has one value.
A .png is a picture of both; an .html is the surface to turn and zoom, in one file that needs no network.
"""
PLOT_MORE = """\
examples:
  rhoray plot CHGCAR --out rho.png
  rhoray plot CHGCAR --out rho.png --axis a --at 0.5
  rhoray plot CHGCAR --out rho.html --level 0.3
"""
JOBS = """\
The jobs that turn a bucket of densities into a model of your own, in the order of the pipeline. Each runs on a
local Ray, or on the cluster of RAY_ADDRESS.
"""
JOBS_MORE = """\
examples:
  rhoray jobs                                     list them
  rhoray jobs ingest --help                       flags of one
  rhoray jobs ingest --source sample: --out data/densities/sample
  ray job submit -- rhoray jobs ingest --source s3://bucket/chgcars --out s3://bucket/densities/mine
"""
SERVE = """\
Start the endpoint and its page on this machine and serve until Ctrl-C (Ray Serve). Settings besides these are RHORAY_*
variables: RHORAY_API_TOKEN, RHORAY_MAX_UPLOAD_BYTES, …
"""
SERVE_MORE = """\
examples:
  rhoray serve
  rhoray serve --bundle s3://bucket/bundles/mine --port 8080
"""
DOCTOR = """\
Look at what RhoRay needs: Python and packages, the packaged model, memory, GPU, Ray, and the storage of a URI; say how
to mend what is amiss.
"""
DOCTOR_MORE = """\
examples:
  rhoray doctor
  rhoray doctor s3://bucket/prefix --write

Exit status: 0 nothing is amiss that matters, 1 something is, 2 bad arguments.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="rhoray",
        description="Properties of crystals, with error bars, from their charge densities.",
        epilog=START,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rhoray {rhoray.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command", title="commands")
    _predict(_add(commands, "predict", "properties of files, here or from an endpoint", PREDICT, PREDICT_MORE))
    _info(_add(commands, "info", "what is in a density file, and whether it is sound", INFO, INFO_MORE))
    _plot(_add(commands, "plot", "a slice and an isosurface, as .png or .html", PLOT, PLOT_MORE))
    _jobs(_add(commands, "jobs", "the jobs of the pipeline: list them, run one", JOBS, JOBS_MORE))
    _serve(_add(commands, "serve", "the endpoint and its page on this machine", SERVE, SERVE_MORE))
    _doctor(_add(commands, "doctor", "what is installed and reachable, with remedies", DOCTOR, DOCTOR_MORE))
    return parser


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, short: str, long: str, more: str
) -> argparse.ArgumentParser:
    p = commands.add_parser(
        name,
        help=short,
        description=long,
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    p.add_argument("--json", action="store_true", help="print JSON")
    return p


def _predict(p: argparse.ArgumentParser) -> None:
    p.add_argument("file", nargs="+", type=_file, metavar="FILE")
    where = p.add_mutually_exclusive_group()
    where.add_argument("--bundle", metavar="URI", help="your own model (from publish); default: pretrained:")
    where.add_argument(
        "--url", default=os.environ.get(URL_VARIABLE), help=f"ask this endpoint; default: {URL_VARIABLE}, if set"
    )
    p.add_argument("--out", type=_table, metavar="FILE.csv", help="a table of all; without it, each is printed")
    p.add_argument("--at-once", type=int, default=4, metavar="N", choices=range(1, 65), help="requests under way (4)")
    p.add_argument("--patience", type=float, default=120.0, metavar="SECONDS", help="for a busy endpoint (120)")


def _info(p: argparse.ArgumentParser) -> None:
    p.add_argument("file", type=_file, metavar="FILE")


def _plot(p: argparse.ArgumentParser) -> None:
    p.add_argument("file", type=_file, metavar="FILE")
    p.add_argument("--out", required=True, type=_picture, metavar="FILE", help=" or ".join(PICTURES))
    p.add_argument(
        "--axis", choices=("a", "b", "c"), default="c", help="the slice holds the two other lattice vectors (c)"
    )
    p.add_argument("--at", type=_fraction, metavar="0…1", help="height of the slice; default: the densest point's")
    p.add_argument(
        "--level", type=float, metavar="E/A3", help="of the surface; default: half of the charge lies inside"
    )


def _jobs(p: argparse.ArgumentParser) -> None:
    p.add_argument("name", nargs="?", choices=job_names(), metavar="NAME", help="run this one; its flags follow")


def _serve(p: argparse.ArgumentParser) -> None:
    p.add_argument("--bundle", default="pretrained:", metavar="URI", help="from publish; default: pretrained:")
    p.add_argument("--host", default="127.0.0.1", help="where to listen; 0.0.0.0 is every network (127.0.0.1)")
    p.add_argument("--port", type=int, default=8000, help="(8000)")


def _doctor(p: argparse.ArgumentParser) -> None:
    p.add_argument("uri", nargs="*", metavar="URI", help="storage to try: s3://bucket/prefix, a folder")
    p.add_argument("--write", action="store_true", help="also write a small object there, and delete it")


def _file(text: str) -> Path:
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(
            f"{text} is a folder: name files ({text.rstrip('/')}/*), or use `rhoray jobs predict --source {text} …`"
        )
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    return path


def _table(text: str) -> Path:
    if not text.endswith(".csv"):
        raise argparse.ArgumentTypeError(f"{text}: expected a name that ends in .csv")
    return Path(text)


def _picture(text: str) -> Path:
    if not text.endswith(PICTURES):
        raise argparse.ArgumentTypeError(f"{text}: expected a name that ends in {' or '.join(PICTURES)}")
    return Path(text)


def _fraction(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text}, expected 0 to 1")
    return number
