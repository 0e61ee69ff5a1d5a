"""A kernel whose shell calls itself Colab's and keeps a record of the commands it runs."""

from google.colab import record
from ipykernel.ipkernel import IPythonKernel
from ipykernel.zmqshell import ZMQInteractiveShell
from traitlets import Type


class Shell(ZMQInteractiveShell):
    def system(self, cmd):
        record(f"system {self.var_expand(cmd, depth=1)}")
        super().system(self.var_expand(cmd, depth=1))

    def getoutput(self, cmd, split=True, depth=0):
        record(f"getoutput {self.var_expand(cmd, depth=depth + 1)}")
        return super().getoutput(cmd, split, depth + 1)


Shell.__module__ = "google.colab._shell"  # where Colab has it: libraries look at this name


class Kernel(IPythonKernel):
    shell_class = Type(Shell)
