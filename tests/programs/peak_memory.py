"""Prints what peak_memory of a script says in a process that held 50 MiB: python3 peak_memory.py SCRIPT [child].

Without "child" this process holds 400 MiB, and starts that one. The function is taken out of the script's text: to
import the script takes more memory than that.
"""
import ast
import subprocess
import sys

if __name__ == "__main__":
    if sys.argv[2:] == ["child"]:
        with open(sys.argv[1], encoding="utf-8") as file:
            (function,) = [node for node in ast.parse(file.read()).body if getattr(node, "name", "") == "peak_memory"]
        names = {"sys": sys}
        exec(compile(ast.Module([function], []), sys.argv[1], "exec"), names)
        held = bytearray(50 * 2**20)
        print(names["peak_memory"]())
    else:
        held = bytearray(400 * 2**20)
        subprocess.run([sys.executable, *sys.argv, "child"], check=True)
