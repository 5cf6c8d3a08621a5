import Testing

/// Everything that runs the real CRIU, one test at a time: the tests count this process's children and open files.
@Suite(.serialized) struct CriuSuite {}
