// Package remote has jobs computed by other processes, on this or other machines, over NATS JetStream.
//
// An [API] gives the jobs of its [job.Queue] to the devices of workers that announce themselves; a [Worker] is a source
// of such jobs for a pool of devices. The API's journal is the only record: NATS carries jobs, and what it loses costs
// a delay. Subjects:
//
//	goxl.workers         announcements of workers: every third of the lease, and when something changes
//	goxl.apis            signs of life of APIs: every sixth of the lease
//	goxl.hello           an API asks the workers for an announcement, and the other APIs for a sign of life
//	goxl.work.WORKER     jobs for a worker, in the work-queue stream GOXL_JOBS
//	goxl.job.ID.events   steps, previews and warnings of a job
//	goxl.job.ID.cancel   tells the worker that nobody wants a job any more
//	goxl.result          a request of a worker with what became of a job; the API that has the job answers
//	goxl.api.job         a question for the state of a job: every other API answers, one of them that it has it
//	goxl.api.image       the same for a piece of an image, of 512 KiB at most
//
// A job goes to a worker that announces its model, with the same fingerprint where both sides have one, and that has
// not refused it, as one does that lacks a file which the job names, or has another. Where there are workers and none
// can compute it, it fails after a minute; where there are none, it waits.
//
// Images lie in the object store goxl-images while they are under way, as JOB/RUN/ID, where RUN is one attempt.
//
// A worker holds a job until the API has answered its result, and lists it in every announcement, which is the sign of
// life of its lease. A job without one for as long as the lease goes back to the queue. Any result of a job that has
// not ended is its result, whichever attempt made it; later ones are dropped. A job that a worker holds when an API
// starts again goes on there.
package remote
