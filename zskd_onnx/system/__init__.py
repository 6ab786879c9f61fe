"""Access to the machine: devices, files, threads, interrupts, random generators, onnxruntime sessions."""
