// Package worker computes the jobs of a [Source], which usually is a [job.Queue]. A [Pool] has a goroutine for each
// device, which takes one job after the other and computes it on an [engine.Engine].
//
// A device is free as soon as it has computed an image: that is encoded, synced and reported beside the next
// computation, for two images of a device at most. What a computation needs on the disk is there before it begins.
//
// A [Task] is the JSON of a job's request: images are ids of files, which are decoded when a device takes the job, and
// files that it names lie in the folders of [Shared]. What a server of other processes accepted, [Check] compares with
// what there is here.
//
// A device that fails costs a job an attempt, and not its client: the engine is closed, another one is opened, and the
// job goes back to the queue for whichever device is free. A job that is too large for one device's memory goes to the
// others. An error of the request, or of the server, ends the job at once.
package worker
