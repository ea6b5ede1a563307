// Package job is how work travels: a Job is what a client asked for, its Journal is the record of it on disk, its Queue
// decides which one is computed next, and Events tell what becomes of it. The package knows nothing of models, HTTP or
// devices: what a job computes is JSON of whoever computes it.
//
//	journal, err := job.OpenJournal("jobs.db", job.JournalOptions{})
//	queue, err := job.NewQueue(journal, job.QueueOptions{Capacity: 100})
//
//	// A client:
//	j, existed, err := queue.Submit(job.Job{ID: id, Owner: "ann", Request: request})
//	events, err := queue.Watch(ctx, j.ID, 0)
//
//	// A device:
//	lease, err := queue.Take(ctx, job.Taker{Name: "cuda:0"})
//	lease.Event(job.Event{Kind: job.KindStep, Step: 1, Steps: 50})
//	err = lease.Done(outputs, parameters, nil)
//
// A job that Submit has returned is on the disk. It is not lost when the process is killed: the next NewQueue takes it
// up again. One that was running then is Interrupted, and fails once it has had its attempts.
//
// Caveats: one process has a journal at a time. The journal is mapped into memory, so it must lie on a local file
// system. Nothing that Job, Watch, List or a Lease returns may be changed in place, since its parts are shared.
package job
