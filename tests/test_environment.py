"""An invalid environment is reported in one line before the job begins."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import mtl_jax
from mtl_jax import environment
from mtl_jax.io import command_line
from mtl_jax.types import InputError

ROOT = Path(__file__).parents[1]
START = (
    "-c",
    "import sys; from mtl_jax import environment; from mtl_jax.io import command_line\n"
    "sys.exit(command_line.run(environment.start_jax))",
)


def run(*words: str, **variables: str) -> subprocess.CompletedProcess:
    names = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=names, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("JAX_PLATFORMS", "rocm", "JAX_PLATFORMS=rocm: JAX finds no such device here"),
        ("JAX_PLATFORMS", "abacus", "set JAX_PLATFORMS=cpu, or unset it"),
        ("JAX_ENABLE_X64", "True", "JAX_ENABLE_X64 is set, but networks train and score in"),
        ("JAX_ENABLE_X64", "2", "JAX_ENABLE_X64=2: JAX does not start (invalid truth value '2'"),
        (
            "JAX_NUMPY_DTYPE_PROMOTION",
            "strict",
            "JAX_NUMPY_DTYPE_PROMOTION=strict is not supported",
        ),
        ("JAX_NUMPY_RANK_PROMOTION", "raise", "JAX_NUMPY_RANK_PROMOTION=raise is not supported"),
        ("JAX_NUM_CPU_DEVICES", "two", "JAX_NUM_CPU_DEVICES=two: JAX does not start"),
    ],
)
def test_a_jax_that_cannot_start_is_a_one_line_error(name: str, value: str, message: str) -> None:
    ended = run(*START, **{name: value})
    assert ended.returncode == 2 and ended.stdout == ""
    assert message in ended.stderr and ended.stderr.count("\n") == 1, ended.stderr


@pytest.mark.parametrize(("name", "value"), [("JAX_PLATFORMS", "cpu"), ("JAX_ENABLE_X64", "off")])
def test_a_jax_that_can_start_prints_nothing(name: str, value: str) -> None:
    ended = run(*START, **{name: value})
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_jobs_and_tools_check_jax_before_they_read_anything(tmp_path: Path) -> None:
    job = ("-m", "mtl_jax.main", "--config=configs/mttl.py", f"--workdir={tmp_path}/w")
    tools = (
        ("tools/score.py", "m", "i", "--lesions", "l.csv", "--out", f"{tmp_path}/o"),
        ("tools/export.py", "run", "--output", f"{tmp_path}/o"),
        ("tools/convert_weights.py", "alexnet.pth"),
    )
    for command in (job, *tools):
        ended = run(*command, JAX_ENABLE_X64="1")
        assert ended.returncode == 2 and "JAX_ENABLE_X64 is set" in ended.stderr
        assert ended.stderr.count("\n") == 1
    ended = run(*job, JAX_PLATFORMS="rocm")
    assert ended.returncode == 2 and "no such device" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_float64_set_in_python_is_rejected() -> None:
    environment.reject_settings()
    with jax.enable_x64(True):
        for reject in (environment.start_jax, lambda: mtl_jax.load("anything")):
            with pytest.raises(InputError, match="JAX_ENABLE_X64 is set"):
                reject()
    with jax.numpy_dtype_promotion("strict"), pytest.raises(InputError, match="not supported"):
        environment.reject_settings()


def test_the_cpu_is_chosen_in_this_process_alone() -> None:
    """The variables stay, for processes that it starts. Without the choice JAX would not start."""
    code = (
        "import os; from mtl_jax import environment; environment.use_cpu()\n"
        "environment.start_jax(); import jax\n"
        "print(jax.default_backend(), os.environ['JAX_PLATFORMS'], os.environ['JAX_PLATFORM_NAME'])"
    )
    ended = run("-c", code, JAX_PLATFORMS="rocm", JAX_PLATFORM_NAME="gpu")
    assert ended.stdout == "cpu rocm gpu\n", ended.stderr


COMPUTES_ON_CPU = (
    "from mtl_jax import environment as e; e.NVIDIA_FILES = ({file!r},); print(e.computes_on_cpu())"
)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, jax.default_backend() == "cpu"),
        ({"JAX_PLATFORMS": "cpu"}, True),
        ({"JAX_PLATFORMS": "cpu,cuda"}, True),
        ({"JAX_PLATFORMS": "cuda,cpu"}, False),
        ({"JAX_PLATFORMS": "", "JAX_PLATFORM_NAME": "gpu"}, False),
        ({"JAX_PLATFORMS": "cuda,cpu", "JAX_PLATFORM_NAME": "cpu"}, True),
    ],
)
def test_the_device_is_known_before_jax_starts(variables: dict[str, str], expected: bool) -> None:
    code = "from mtl_jax import environment; print(environment.computes_on_cpu())"
    for started in ("", "import jax; "):
        assert run("-c", started + code, **variables).stdout == f"{expected}\n"


@pytest.mark.parametrize(
    ("plugin", "has_gpu", "expected"),
    [("xla_cuda13", True, False), ("xla_cuda13", False, True), ("other", False, False)],
)
def test_an_installed_plugin_computes_if_its_device_may_exist(
    plugin: str, has_gpu: bool, expected: bool, tmp_path: Path
) -> None:
    if jax.default_backend() != "cpu":
        pytest.skip("this machine has another device")
    (tmp_path / "jax_plugins" / plugin).mkdir(parents=True)
    (tmp_path / "jax_plugins" / plugin / "__init__.py").touch()
    file = tmp_path / "nvidia0"
    if has_gpu:
        file.touch()
    code = COMPUTES_ON_CPU.format(file=str(file))
    ended = run("-c", code, PYTHONPATH=f"{ROOT}:{tmp_path}", JAX_PLATFORMS="")
    assert ended.stdout == f"{expected}\n", ended.stderr


def test_the_roc_command_needs_no_jax(tmp_path: Path) -> None:
    table = tmp_path / "s.csv"
    table.write_text("label,score\n0,0.1\n1,0.7\n0,0.4\n1,0.9\n0,0.8\n1,0.3\n")
    ended = run(
        "-m", "mtl_jax.roc", str(table), "--samples=20", JAX_ENABLE_X64="1", JAX_PLATFORMS="rocm"
    )
    assert ended.returncode == 0 and ended.stderr == ""


def test_a_closed_pipe_does_not_stop_a_command(tmp_path: Path) -> None:
    """With either stream closed, the command runs to its end and keeps its exit code."""
    code = (
        "import sys, pathlib; from mtl_jax.io import command_line\n"
        "def main():\n"
        "    for i in range(20000): print('a line that fills the pipe', i)\n"
        "    print('a note', file=sys.stderr)\n"
        f"    pathlib.Path({str(tmp_path / 'done')!r}).write_text('yes')\n"
        "    return 0\n"
        "sys.exit(command_line.run(main))"
    )
    for closed in ("stdout", "stderr"):
        other = "stderr" if closed == "stdout" else "stdout"
        read_end, write_end = os.pipe()
        os.close(read_end)
        streams = {closed: write_end, other: subprocess.PIPE}
        ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, **streams)
        os.close(write_end)
        assert ended.returncode == 0 and b"Error" not in getattr(ended, other)
        (tmp_path / "done").unlink()


def test_characters_that_the_terminal_lacks_do_not_stop_a_command() -> None:
    code = (
        "import sys; from mtl_jax.io import command_line\n"
        "sys.exit(command_line.run(lambda: print('M\\u00fcller') or 0))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "M\\xfcller\n", "")


def test_a_full_disk_for_the_output_is_a_one_line_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    code = (
        "import sys; from mtl_jax.io import command_line as c; sys.exit(c.run(lambda: print('x')))"
    )
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert ended.returncode == 2
    assert ended.stderr == "the output cannot be written (No space left on device)\n"


def test_characters_that_the_output_cannot_encode_are_escaped(tmp_path: Path) -> None:
    """In ids and in file names that are not UTF-8, on the screen and in error messages."""
    table = tmp_path / "M\u00fc.csv"
    rows = "0,0.1,M\u00fc\n1,0.7,M\u00fc\n0,0.4,b\n1,0.9,b\n"
    table.write_text(f"label,score,task\n{rows}", encoding="utf-8")
    command = ("-m", "mtl_jax.roc", str(table), "--samples=20")
    ended = run(*command, PYTHONIOENCODING="ascii")
    assert ended.returncode == 0 and ended.stderr == ""
    assert "task M\\xfc\n" in ended.stdout and "M\\xfc.csv: 1 malignant" in ended.stdout
    ended = run(*command, "--task=\u00e9", PYTHONIOENCODING="ascii:strict")
    assert ended.returncode == 2 and ended.stdout == ""
    assert "M\\xfc.csv: has no row of task" in ended.stderr and ended.stderr.count("\n") == 1
    code = "from mtl_jax.io import command_line as c; c.run(lambda: print('a\\udcfc.png'))"
    assert run("-c", code, PYTHONIOENCODING="utf-8").stdout == "a\\udcfc.png\n"


def test_invalid_input_gives_exit_code_2_and_other_codes_are_unchanged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))  # put back what `run` replaces

    def fail() -> int:
        raise InputError("films.csv: no such\nfile")

    assert command_line.run(fail) == 2
    assert capsys.readouterr().err == "films.csv: no such file\n"
    assert [command_line.run(lambda code=code: code) for code in (None, 0, 1)] == [0, 0, 1]
