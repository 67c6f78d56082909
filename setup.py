"""Builds the extension module, and one static library for each instruction set (only these get its flags).

Environment: FASTCONV_NO_OPENMP=1 builds serial, FASTCONV_WERROR=1 makes warnings errors,
FASTCONV_ONLY_ISA=avx512 leaves out the other instruction sets; CC and CFLAGS work as usual.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, PlatformError

WINDOWS, MACOS = sys.platform == "win32", sys.platform == "darwin"
X86_64 = platform.machine().lower() in {"x86_64", "amd64"} and sys.maxsize > 2**32
if MACOS:  # a universal Python asks for both machines at once, of which one has no AVX
    os.environ.setdefault("ARCHFLAGS", f"-arch {platform.machine()}")

# gnu11, not c11: the latter forbids contraction to FMA. Never -march=native (a wheel runs elsewhere) and never
# -ffast-math (at link it turns denormals off for the whole process).
C_FLAGS = ["-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
DEBUG = "-g" in os.environ.get("CFLAGS", "")
C_FLAGS += [] if DEBUG else ["-g0"]  # debug information is most of a module's size
STRIP = ["-Wl,-s"] if sys.platform == "linux" and not DEBUG else []  # names of functions are what is left of it
ISA_FLAGS = {"baseline": C_FLAGS}
if X86_64:
    avx512 = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]
    ISA_FLAGS |= {"avx2": [*C_FLAGS, "-mavx2", "-mfma"], "avx512": [*C_FLAGS, *avx512]}
if only := os.environ.get("FASTCONV_ONLY_ISA"):  # for whoever changes a kernel and wants to see its speed soon
    ISA_FLAGS = {only: ISA_FLAGS[only]}
WARNINGS = [] if WINDOWS else ["-Wall", "-Wextra", "-Wconversion", "-Werror=implicit-function-declaration"]
WARNINGS += ["-Werror"] if os.environ.get("FASTCONV_WERROR") else []
SOURCES = [str(p) for p in sorted(Path("src").rglob("*.*")) if p.suffix in {".h", ".inc", ".c", ".pxi"}]
DEPENDS = ["setup.py", *SOURCES]  # of every object; the stamp of options joins them
NO_COMPILER = """
fastconv is compiled from C, and {missing}. Install what is missing and try again:
  Debian, Ubuntu   apt install build-essential python3-dev
  Fedora           dnf install gcc python3-devel
  macOS            xcode-select --install
  Windows          Visual Studio Build Tools with "C++ Clang tools for Windows" (clang-cl)
"""


def take_clang_cl(compiler) -> None:
    """On Windows, compile with clang-cl: cl lacks the vector extensions that the kernels are written in."""
    if WINDOWS:
        compiler.initialize()
        compiler.cc = shutil.which("clang-cl") or "clang-cl.exe"


def builds(compiler, source: str, compile_args=(), link_args=()) -> bool:
    """Whether a program that starts with this source compiles and links."""
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder, "probe.c")
        probe.write_text(source + "int main(void) { return 0; }\n")
        try:
            objects = compiler.compile([str(probe)], folder, extra_postargs=[*compile_args])
            compiler.link_executable(objects, str(probe.with_suffix("")), extra_postargs=[*link_args])
        except (CCompilerError, PlatformError):
            return False
        return True


def openmp_flags(compiler) -> tuple[list[str], list[str]]:
    """Compile and link flags for OpenMP, or none where a probe does not link: the build is then serial."""
    args = (["/openmp"], ["libomp.lib"]) if WINDOWS else (["-fopenmp"], ["-fopenmp"])
    if MACOS:
        lib = os.environ.get("LIBOMP_PREFIX", "/opt/homebrew/opt/libomp")
        args = ["-Xpreprocessor", "-fopenmp", f"-I{lib}/include"], [f"-L{lib}/lib", f"-Wl,-rpath,{lib}/lib", "-lomp"]
    if not os.environ.get("FASTCONV_NO_OPENMP") and builds(compiler, "#include <omp.h>\n", *args):
        return args
    print("fastconv: OpenMP was not found or not wanted: this build computes on one thread", file=sys.stderr)
    return [], []


def options_stamp(folder: Path, options: object) -> str:
    """Return the path of a file that is newer than objects which were made with other options."""
    stamp = folder / "options.txt"
    text = "\n".join([repr(options), *(f"{name}={os.environ.get(name)}" for name in ("CC", "CFLAGS", "LDFLAGS"))])
    if not stamp.exists() or stamp.read_text() != text:
        folder.mkdir(parents=True, exist_ok=True)
        stamp.write_text(text)
    return str(stamp)


class BuildLibraries(build_clib):
    """build_clib, all libraries at once, by a compiler that is known to work."""

    def build_libraries(self, libraries) -> None:
        take_clang_cl(self.compiler)
        if not builds(self.compiler, ""):
            raise SystemExit(NO_COMPILER.format(missing="no working C compiler was found"))
        self.openmp = openmp_flags(self.compiler)
        for _, library in libraries:
            library["cflags"] += self.openmp[0]  # cpu.c reports it
        self.stamp = options_stamp(Path(self.build_temp), [(lib["cflags"], lib["macros"]) for _, lib in libraries])
        DEPENDS.append(self.stamp)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(super().build_libraries, [[library] for library in libraries]))


class BuildExtension(build_ext):
    """build_ext, after the libraries and with their compiler."""

    def run(self) -> None:
        self.run_command("build_clib")  # `build_ext --inplace` alone does not
        super().run()

    def build_extensions(self) -> None:
        clib = self.get_finalized_command("build_clib")
        take_clang_cl(self.compiler)
        if not builds(self.compiler, "#include <Python.h>\n"):
            raise SystemExit(NO_COMPILER.format(missing="the header files of Python were not found"))
        for extension in self.extensions:
            extension.extra_compile_args += clib.openmp[0]
            extension.extra_link_args += clib.openmp[1]
            extension.depends.append(clib.stamp)
        super().build_extensions()


def native(options: list[str]) -> list[str]:
    """Options as this platform's compiler takes them: clang-cl hands on to clang what follows /clang:."""
    return [f"/clang:{o}" for o in options] if WINDOWS else [*options]


report = "; ".join(f"{isa}: {' '.join(options)}" for isa, options in ISA_FLAGS.items())
macros = [("FC_FLAGS", f'"{report}"'), *((f"FC_HAVE_{isa.upper()}", "1") for isa in ISA_FLAGS)]
common = {"include_dirs": ["src"], "macros": macros, "obj_deps": {"": DEPENDS}}
parts = [("fc_cpu", "src/cpu.c", C_FLAGS), *((f"fc_{isa}", f"src/isa_{isa}.c", o) for isa, o in ISA_FLAGS.items())]
engine = Extension(
    "fastconv._engine",
    ["src/_engine.pyx"],
    include_dirs=["src", np.get_include()],
    depends=SOURCES,
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), ("NPY_TARGET_VERSION", "NPY_1_25_API_VERSION")],
    extra_compile_args=native(C_FLAGS),
    extra_link_args=[*STRIP],
)
setup(
    libraries=[(n, {"sources": [source], "cflags": native(o) + WARNINGS, **common}) for n, source, o in parts],
    ext_modules=cythonize([engine], build_dir="build"),
    cmdclass={"build_clib": BuildLibraries, "build_ext": BuildExtension},
)
