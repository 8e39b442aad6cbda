"""The command as a user types it: answers, JSON, colour, exit codes."""

import csv
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rhoray.command import doctor, terminal
from rhoray.command.flags import build_parser
from rhoray.command.job_scripts import job_names
from rhoray.command.main import main
from rhoray.inference.predictor import Predictor, read_input
from tests.unit.builders import chgcar_document, chgcar_text, salt

COMMANDS = ("predict", "info", "plot", "jobs", "serve", "doctor")
LONGEST_HELP_S = 0.5


def ask(capsys, *words) -> str:
    main([str(word) for word in words])
    return capsys.readouterr().out


def shell(root, *words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "rhoray.command", *words],
        capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": f"{root / 'platform'}", **environment},
    )  # fmt: skip


def test_a_cif_in_one_line(folder, capsys):
    text = ask(capsys, "predict", folder / "crystal.cif")
    assert "NaCl, 8 atoms" in text
    assert "bulk modulus, GPa" in text
    assert "Young's modulus, GPa" in text
    assert f"known to the model (pretrained {Predictor.load('pretrained:').version})" in text


def test_json_has_the_numbers_of_the_predictor(folder, capsys):
    found = json.loads(ask(capsys, "predict", folder / "CHGCAR.gz", "--json"))
    (expected,) = Predictor.load("pretrained:")([read_input((folder / "CHGCAR.gz").read_bytes())])
    assert {p["target"]: p["value"] for p in found["predictions"]} == {p.target: p.value for p in expected.properties}
    assert found["material"]["density_kind"] == "dft"
    assert found["model"]["name"] == "pretrained"


def test_a_table_with_what_was_refused(folder, tmp_path, capsys):
    files = [folder / "crystal.cif", folder / "half_CHGCAR", folder / "photo.jpg"]
    summary = json.loads(ask(capsys, "predict", *files, "--out", tmp_path / "table.csv"))
    assert (summary["rows"], summary["failed"]) == (3, 2)
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert [row["material_id"] for row in rows] == ["crystal", "half", "photo"]
    assert [row["formula"] for row in rows] == ["NaCl", "", ""]
    assert (rows[0]["model"], rows[0]["model_version"]) == ("pretrained", Predictor.load("pretrained:").version)
    prediction = Predictor.load("pretrained:")(folder / "crystal.cif")
    assert float(rows[0]["bulk_modulus"]) == prediction.properties[0].value  # not a digit is lost
    assert float(rows[0]["bulk_modulus_lower"]) < float(rows[0]["bulk_modulus"]) < float(rows[0]["bulk_modulus_upper"])
    assert "truncated" in rows[1]["reason"]
    assert "JPEG" in rows[2]["reason"]


def test_exit_1_if_no_file_could_be_used(folder, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["predict", str(folder / "photo.jpg"), "--json"])
    assert caught.value.code == 1
    assert json.loads(capsys.readouterr().out)["problem"]["code"] == "unknown-format"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict", "absent"], "no such file"),
        (["predict", "."], "rhoray jobs predict"),
        (["predict", __file__, "--out", "x.xlsx"], ".csv"),
        (["predict", __file__, "--url", "http://x", "--bundle", "y"], "not allowed with"),
        (["plot", __file__, "--out", "x.jpg"], ".png or .html"),
        (["plot", __file__, "--out", "x.png", "--at", "2"], "0 to 1"),
        (["jobs", "nonsense"], "invalid choice"),
        ([], "COMMAND"),
    ],
    ids=str,
)
def test_exit_2_says_what_was_expected(words, said, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_serve_refuses_a_port_where_somebody_listens():
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as Serve does, which so shares its port unasked
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SystemExit, match=f"127.0.0.1:{port}.*already in use.*--port"):
            main(["serve", "--port", str(port)])


def test_info(folder, capsys):
    found = json.loads(ask(capsys, "info", folder / "CHGCAR.gz", "--json"))
    density = read_input((folder / "CHGCAR.gz").read_bytes())
    assert found["atoms"] == density.n_atoms
    assert found["electrons"] == pytest.approx(density.n_electrons, abs=1e-3)
    assert (found["format"], found["compression"], found["kind"]) == ("chgcar", "gzip", "dft")
    assert all(check["passed"] for check in found["checks"])
    assert found["magnetisation_grids"] == 0
    assert "electrons" in ask(capsys, "info", folder / "CHGCAR.gz")


def test_info_says_that_spins_were_told_apart(tmp_path, capsys):
    density = salt()
    (tmp_path / "CHGCAR").write_text(chgcar_text(density, spin=True))
    assert json.loads(ask(capsys, "info", tmp_path / "CHGCAR", "--json"))["magnetisation_grids"] == 1
    assert "spin-polarised" in ask(capsys, "info", tmp_path / "CHGCAR")
    document = chgcar_document(density)
    total = document["data"]["data"]["total"]
    for names, expected in (((), 0), (("diff",), 1), (("diff_x", "diff_y", "diff_z", "diff"), 3)):
        document["data"]["data"] = dict.fromkeys(("total", *names), total)
        (tmp_path / "chgcar.json").write_text(json.dumps(document))
        found = json.loads(ask(capsys, "info", tmp_path / "chgcar.json", "--json"))
        assert found["magnetisation_grids"] == expected


def test_info_of_a_format_without_a_place_for_spins(folder, capsys):
    assert json.loads(ask(capsys, "info", folder / "crystal.cif", "--json"))["magnetisation_grids"] is None


def test_info_says_why_a_file_is_no_use(folder, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["info", str(folder / "half_CHGCAR")])
    assert caught.value.code == 1
    text = capsys.readouterr().out
    assert "FAILED" in text
    assert "truncated" in text


def test_info_says_what_is_odd(folder, tmp_path, capsys):
    """A density that lacks 40 % of its charge is read, for its count may be that of another potential."""
    lines = (tmp_path / "CHGCAR").open("w")
    import gzip

    text = gzip.decompress((folder / "CHGCAR.gz").read_bytes()).decode()
    head, _, grid = text.partition("\n\n")
    numbers = grid.split("\n")
    scaled = [" ".join(f"{0.6 * float(x):.10E}" for x in line.split()) for line in numbers[1:]]
    lines.write("\n".join([f"{head}\n", numbers[0], *scaled, ""]))
    lines.close()
    found = json.loads(ask(capsys, "info", tmp_path / "CHGCAR", "--json"))
    assert [check["name"] for check in found["checks"] if not check["passed"]] == ["known to the packaged model"]


@pytest.mark.parametrize("axis", ["a", "c"])
def test_plot_png(folder, tmp_path, capsys, axis):
    out = tmp_path / "rho.png"
    summary = json.loads(ask(capsys, "plot", folder / "CHGCAR.gz", "--out", out, "--axis", axis, "--json"))
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert summary["axis"] == axis
    assert 0 < summary["level"] < 10


def test_plot_html_needs_no_network(folder, tmp_path, capsys):
    out = tmp_path / "rho.html"
    ask(capsys, "plot", folder / "crystal.cif", "--out", out)
    text = out.read_text()
    assert "Mesh3d" in text or "mesh3d" in text
    assert '<script src="http' not in text


def test_plot_refuses_a_level_that_nothing_has(folder, tmp_path):
    with pytest.raises(SystemExit, match="expected a value between"):
        main(["plot", str(folder / "crystal.cif"), "--out", str(tmp_path / "x.png"), "--level", "1e6"])


def test_jobs_are_listed(capsys, root):
    found = json.loads(ask(capsys, "jobs", "--json"))
    assert set(found) == {path.stem for path in (root / "jobs").glob("[a-z]*.py")}
    assert next(iter(found)) == "ingest"
    assert all(summary.endswith(".") for summary in found.values())
    assert "encode" in ask(capsys, "jobs")


def test_a_job_is_run_under_its_own_flags(root, tmp_path):
    said = shell(root, "jobs", "publish", "--help")
    assert said.returncode == 0
    assert said.stdout.startswith("usage: rhoray jobs publish ")
    assert "rhoray jobs publish --encoder" in said.stdout
    wrong = shell(root, "jobs", "publish", "--encoder", "x")
    assert (wrong.returncode, "--regressors" in wrong.stderr) == (2, True)
    absent = tmp_path / "absent"
    failed = shell(root, "jobs", "publish", "--encoder", absent, "--regressors", "x", "--out", tmp_path / "y")
    assert (failed.returncode, failed.stderr.startswith("failed: ")) == (1, True)


def test_doctor(capsys, tmp_path):
    found = json.loads(ask(capsys, "doctor", tmp_path, "--write", "--json"))
    status = {finding["subject"]: finding["status"] for finding in found["findings"]}
    assert status["packaged model"] == status["packages"] == status[str(tmp_path)] == "ok"
    assert list(tmp_path.iterdir()) == []


def test_doctor_prints_each_finding_as_it_comes(monkeypatch, capsys, tmp_path):
    seen = []

    def look(uri, *, write):
        del write
        seen.append(capsys.readouterr().out)
        return doctor.Finding(uri, "ok", "there")

    monkeypatch.setattr(doctor, "_storage", look)
    ask(capsys, "doctor", tmp_path)
    assert "packaged model" in seen[0]


def test_doctor_has_a_remedy_for_what_is_amiss(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(SystemExit) as caught:
        main(["doctor", str(tmp_path / "no" / "folder"), "ftp://x", "--json"])
    assert caught.value.code == 1
    amiss = {
        f["subject"]: f["remedy"] for f in json.loads(capsys.readouterr().out)["findings"] if f["status"] == "amiss"
    }
    assert set(amiss) == {"Ray", str(tmp_path / "no" / "folder"), "ftp://x"}
    assert all(amiss.values())


def test_doctor_sees_a_bucket(store, bucket, capsys):
    del store
    ask(capsys, "doctor", f"{bucket}/somewhere", "--write")
    with pytest.raises(SystemExit):
        main(["doctor", "s3://there-is-none-such/x"])
    assert "no such bucket" in capsys.readouterr().out


def test_help_is_at_once_and_teaches(root):
    parser = build_parser()
    assert "first steps" in parser.format_help()
    fastest = min(_seconds(root, "predict", "--help") for _ in range(3))
    assert fastest < LONGEST_HELP_S


def _seconds(root, *words) -> float:
    started = time.monotonic()
    assert shell(root, *words).returncode == 0
    return time.monotonic() - started


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_json_and_examples(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "--json" in text
    assert f"examples:\n  rhoray {command}" in text


def test_tab_completion(root):
    said = shell(
        root, _ARGCOMPLETE="1", _ARGCOMPLETE_STDOUT_FILENAME="/dev/stdout", COMP_LINE="rhoray jobs tra", COMP_POINT="15"
    )
    assert said.stdout.strip() == "train_ae"
    assert "PYTHON_ARGCOMPLETE_OK" in Path(sys.modules["rhoray.command.main"].__file__).read_text()[:200]


def test_colour_on_terminals_only(monkeypatch):
    assert terminal.bold("x") == "x"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert terminal.bold("x") == "\x1b[1mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.paint("x", "red") == "x"


def test_job_names_follow_the_pipeline():
    names = job_names()
    assert names.index("ingest") < names.index("encode") < names.index("publish") < names.index("predict")
