"""A real Orthanc server (Debian package orthanc) on loopback for one test, and DICOM to talk to it.

Holds no judgement: what it should answer is for each test to say.
"""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID

PROGRAM = shutil.which("Orthanc")
NAME = "ORTHANC"


class Orthanc(NamedTuple):
    """The ports of a running server."""

    http: int
    dicom: int

    def get(self, path: str) -> bytes:
        """What its REST interface answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=30) as answer:
            return answer.read()

    def store(self, paths: list[Path]) -> None:
        """C-STORE of files; AssertionError where one is not taken."""
        from pynetdicom import AE

        sent = [pydicom.dcmread(path) for path in paths]
        ae = AE()
        for kind, syntax in {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in sent}:
            ae.add_requested_context(kind, syntax)
        link = ae.associate("127.0.0.1", self.dicom, ae_title=NAME)
        assert link.is_established
        try:
            for one in sent:
                assert link.send_c_store(one).Status == 0
        finally:
            link.release()

    def fetch(self, study: str, classes: set[UID], folder: Path) -> list[Path]:
        """C-GET of the images of a study into `folder`, each named by its UID."""
        from pynetdicom import AE, build_role, evt
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as Get

        folder.mkdir(parents=True)
        taken: list[Path] = []

        def take(event: evt.Event) -> int:
            header = event.dataset
            header.file_meta = event.file_meta
            taken.append(folder / f"{header.SOPInstanceUID}.dcm")
            header.save_as(taken[-1], enforce_file_format=True)
            return 0

        ae = AE()
        ae.add_requested_context(Get)
        for kind in classes:
            ae.add_requested_context(kind)
        roles = [build_role(kind, scp_role=True) for kind in classes]
        link = ae.associate(
            "127.0.0.1",
            self.dicom,
            ae_title=NAME,
            ext_neg=roles,
            evt_handlers=[(evt.EVT_C_STORE, take)],
        )
        assert link.is_established
        wanted = Dataset()
        wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", study
        try:
            *_, (status, _) = link.send_c_get(wanted, Get)
            assert status.Status == 0
        finally:
            link.release()
        return taken


@contextmanager
def running(folder: Path) -> Iterator[Orthanc]:
    """A server with an empty store in `folder`, stopped at the end."""
    server = Orthanc(_free_port(), _free_port())
    folder.mkdir(parents=True)
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "Plugins": [],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpPort": server.http,
        "DicomAet": NAME,
        "DicomPort": server.dicom,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowGet": True,
        "DicomCheckModalityHost": False,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder
        )
    try:
        for _ in range(300):
            try:
                server.get("/system")
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
