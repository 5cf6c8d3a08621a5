public import Messages

/// The fixture engine has one job, `build-1`, in every sandbox.
extension FixtureEngine {
    public func startJob(_ name: String, _ request: ExecRequest) throws(ErrorMessage) -> JobInfo {
        _ = try sandbox(name)
        var job = Sample.jobInfo
        job.id = request.id ?? "made-up"
        return job
    }

    public func jobs(_ name: String) throws(ErrorMessage) -> JobList {
        _ = try sandbox(name)
        return JobList(jobs: [Sample.jobInfo])
    }

    public func job(
        _ name: String, _ id: String, _ query: JobQuery, cancelled: Cancellation
    ) throws(ErrorMessage) -> JobOutput {
        _ = try sandbox(name)
        guard id == Sample.jobInfo.id else { throw ErrorMessage(.notFound, "there is no job \(id)") }
        let piece = OutputPiece(offset: query.stdoutOffset, next: query.stdoutOffset, text: "")
        return JobOutput(job: Sample.jobInfo, stdout: piece, stderr: piece)
    }

    public func stopJob(
        _ name: String, _ id: String, _ request: JobStopRequest
    ) throws(ErrorMessage) -> JobInfo {
        _ = try sandbox(name)
        var job = Sample.jobInfo
        job.signal = request.signal
        return job
    }

    public func removeJob(_ name: String, _ id: String) throws(ErrorMessage) { _ = try sandbox(name) }
}
