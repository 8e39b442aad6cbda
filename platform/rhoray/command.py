"""The command `rhoray`: predictions of a running endpoint for files on this machine."""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO

from tqdm import tqdm

from rhoray.client import TOKEN_VARIABLE, Client, Prediction, Refused
from rhoray.core.errors import RhoRayError
from rhoray.sources.items import material_ids

DEFAULT_URL = "http://127.0.0.1:8000"
URL_VARIABLE = "RHORAY_URL"
Answer = Prediction | Refused


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 done (refused files are rows with a reason), 1 failed, 2 bad arguments."""
    args = _arguments(argv)
    try:
        summary = predict(args.file, args.url, args.out, at_once=args.at_once, patience_s=args.patience)
    except KeyboardInterrupt:
        sys.exit("interrupted; what was answered is in the table")
    except (RhoRayError, OSError) as error:
        sys.exit(f"failed: {error}")
    if args.out is not None:
        sys.stdout.write(json.dumps(summary) + "\n")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rhoray", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    p = commands.add_parser(
        "predict",
        help="send files to an endpoint",
        description="Send CHGCARs, cubes, CIFs or POSCARs to a running endpoint; one row for each.",
        epilog=f"The token, if the endpoint asks for one, is read from {TOKEN_VARIABLE}. "
        "Exit status: 0 done, 1 failed, 2 bad arguments.",
        allow_abbrev=False,
    )
    p.add_argument("file", nargs="+", type=_file, metavar="FILE")
    url = os.environ.get(URL_VARIABLE, DEFAULT_URL)
    p.add_argument("--url", default=url, help=f"the endpoint, else {URL_VARIABLE} ({DEFAULT_URL})")
    p.add_argument("--out", type=Path, metavar="FILE.csv", help="a table of all; without it, each is printed")
    p.add_argument("--at-once", type=int, default=4, metavar="N", choices=range(1, 65), help="requests under way (4)")
    p.add_argument("--patience", type=float, default=120.0, metavar="SECONDS", help="for a busy endpoint (120)")
    return parser.parse_args(argv)


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    return path


def predict(
    paths: Sequence[Path], url: str, out: Path | None, *, at_once: int = 4, patience_s: float = 120.0
) -> dict[str, Any]:
    """Predict files; write a table of them to `out`, or print each.

    Args:
        paths: files.
        url: the endpoint.
        out: a .csv, one row a file in the order given; None: print.
        at_once: requests under way.
        patience_s: how long to go on while the endpoint is busy or away.

    Returns:
        rows, failed, seconds, out.

    Raises:
        EndpointError: the endpoint does not answer, or does not know the token.
    """
    start, failed = perf_counter(), 0
    ids = material_ids([str(path) for path in paths])
    with Client(url, token=os.environ.get(TOKEN_VARIABLE), patience_s=patience_s) as client:
        targets = [target["target"] for target in client.model()["targets"]]
        answers = client.predict_many(paths, at_once=at_once)
        shown = tqdm(answers, total=len(paths), unit="file", disable=out is None)
        for failed in _write(zip(ids, shown, strict=True), targets, out):
            shown.set_postfix(failed=failed)
    return {
        "rows": len(paths),
        "failed": failed,
        "seconds": round(perf_counter() - start, 2),
        "out": None if out is None else str(out),
    }


def _write(answers: Iterator[tuple[str, tuple[Path, Answer]]], targets: list[str], out: Path | None) -> Iterator[int]:
    """Write answers as they come; yield how many files were refused so far."""
    failed = 0
    table = None if out is None else out.open("w", newline="")
    try:
        writer = None if table is None else _table(table, targets)
        for material_id, (path, answer) in answers:
            failed += isinstance(answer, Refused)
            if writer is None or table is None:
                sys.stdout.write(_text(path, answer))
            else:
                writer.writerow(_row(material_id, path, answer))
                table.flush()  # what was answered stays, whatever comes
            yield failed
    finally:
        if table is not None:
            table.close()


def _table(file: TextIO, targets: list[str]) -> "csv.DictWriter[str]":
    names = [name for t in targets for name in (t, f"{t}_lower", f"{t}_upper")]
    columns = ["material_id", *names, "in_domain", "reason", "density_kind", "source"]
    writer = csv.DictWriter(file, columns)
    writer.writeheader()
    return writer


def _row(material_id: str, path: Path, answer: Answer) -> dict[str, Any]:
    """Return the columns that the job `predict` writes, too."""
    row: dict[str, Any] = {"material_id": material_id, "source": str(path)}
    if isinstance(answer, Refused):
        return row | {"in_domain": False, "reason": str(answer)}
    for p in answer.properties:
        row |= {p.target: p.value, f"{p.target}_lower": p.lower, f"{p.target}_upper": p.upper}
    reason = "; ".join(answer.reasons)
    return row | {"in_domain": answer.in_domain, "reason": reason, "density_kind": answer.density_kind}


def _text(path: Path, answer: Answer) -> str:
    if isinstance(answer, Refused):
        return f"{path}: {answer}\n"
    head = f"{path}: {answer.formula}, {answer.n_atoms} atoms, {answer.n_electrons:.2f} valence electrons\n"
    lines = [
        f"  {p.target.replace('_', ' '):<26}{p.value:>10.4g} {p.unit:<8} {p.lower:.4g} to {p.upper:.4g}\n"
        for p in answer.properties
    ]
    known = (
        "known to the model" if answer.in_domain else f"outside of what the model knows: {'; '.join(answer.reasons)}"
    )
    return f"{head}{''.join(lines)}  {known}\n"


if __name__ == "__main__":
    main()
