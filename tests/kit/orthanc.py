"""Run an Orthanc server (Debian package orthanc) on loopback, and exchange DICOM with it."""

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
        """Return an answer of the REST interface."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=30) as answer:
            return answer.read()

    def store(self, paths: list[Path]) -> None:
        """Send files by C-STORE; AssertionError if one is not stored."""
        from pynetdicom import AE

        datasets = [pydicom.dcmread(path) for path in paths]
        ae = AE()
        for kind, syntax in {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets}:
            ae.add_requested_context(kind, syntax)
        association = ae.associate("127.0.0.1", self.dicom, ae_title=NAME)
        assert association.is_established
        try:
            for dataset in datasets:
                assert association.send_c_store(dataset).Status == 0
        finally:
            association.release()

    def fetch(self, study: str, classes: set[UID], folder: Path) -> list[Path]:
        """Fetch the images of a study by C-GET into `folder`, each named by its UID."""
        from pynetdicom import AE, build_role, evt
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as Get

        folder.mkdir(parents=True)
        paths: list[Path] = []

        def store(event: evt.Event) -> int:
            header = event.dataset
            header.file_meta = event.file_meta
            paths.append(folder / f"{header.SOPInstanceUID}.dcm")
            header.save_as(paths[-1], enforce_file_format=True)
            return 0

        ae = AE()
        ae.add_requested_context(Get)
        for kind in classes:
            ae.add_requested_context(kind)
        roles = [build_role(kind, scp_role=True) for kind in classes]
        association = ae.associate(
            "127.0.0.1",
            self.dicom,
            ae_title=NAME,
            ext_neg=roles,
            evt_handlers=[(evt.EVT_C_STORE, store)],
        )
        assert association.is_established
        query = Dataset()
        query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", study
        try:
            *_, (status, _) = association.send_c_get(query, Get)
            assert status.Status == 0
        finally:
            association.release()
        return paths


@contextmanager
def running(folder: Path) -> Iterator[Orthanc]:
    """Run a server with an empty store in `folder`."""
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
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
