package server

import (
	"reflect"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/server/openapi"
)

var jobOperations = []operation{
	{
		route: "POST /v1/jobs", id: "createJob", tag: tagJobs, summary: "Submit a job",
		about: "The job is in the journal when this is answered, and outlives client and process.",
		headers: []openapi.Parameter{{
			Name: "Idempotency-Key", Description: "A text of 1 to 255 bytes in UTF-8. A second request with it gets the job of the first one, or 422 if its body is another.",
		}},
		body: &bodyForm{
			parse:   func(s *Server, x *exchange, f *fields) { _, _ = s.jobTask(x, f) }, // what is wrong is of no interest
			probes:  []string{`{"task":"ensemble"}`, `{"task":"image-to-image"}`, `{"task":"inpaint"}`, `{"task":"inpaint","outpaint":[]}`, `{"guidance_scale":[]}`, `{"task":"upscale"}`},
			docs:    with(jobDocs, imageDocs, sizeDocs, without(fromDocs, "denoising_end"), inpaintDocs, []fieldDoc{resizeDoc, hiresDoc, jobEndDoc}, upscaleDocs),
			example: `{"prompt":"a lighthouse at dusk, oil painting","preview_every":5,"output_format":"webp"}`,
		},
		answers: []answerDoc{
			{status: 202, about: "The job.", of: typeOf[jobView](), headers: map[string]string{"Location": "The path of the job."}},
			{status: 200, about: "The job that came with the same Idempotency-Key before.", of: typeOf[jobView](),
				headers: map[string]string{"Location": "The path of the job.", "Idempotent-Replayed": "Always true."}},
		},
		fails: [][]kind{bodyFails, largeFails, imageFails, jobFails, {keyReused, otherModel, tooLong, storeFull}},
	}, {
		route: "GET /v1/jobs", id: "listJobs", tag: tagJobs, summary: "List jobs", about: "The newest first, of who asks; of all users for an admin.",
		query: func(f *fields) { f.jobFilter() },
		parameterOf: []fieldDoc{
			{"limit", "Jobs of a page."}, {"before", "next of the page before."}, {"model", "Those of this model alone."},
			{"task", "Those of this task alone, which of an ensemble is that of its base."},
			{"state", "Those in these states alone, with commas between them: queued, running, interrupted, done, failed, cancelled."},
		},
		answers: []answerDoc{{status: 200, about: "A page of jobs.", of: typeOf[jobPage]()}},
		fails:   [][]kind{{invalid}},
	}, {
		route: "GET /v1/jobs/{id}", id: "getJob", tag: tagJobs, summary: "A job", about: "Its state, place in the queue, progress, images or error.",
		answers: []answerDoc{{status: 200, about: "The job.", of: typeOf[jobView]()}},
		fails:   [][]kind{idFails},
	}, {
		route: "DELETE /v1/jobs/{id}", id: "deleteJob", tag: tagJobs, summary: "Cancel or remove a job",
		about:       "Cancels in any state; one that has ended stays as it is. With purge=true it removes a job that has ended, and its images.",
		query:       func(f *fields) { f.purge() },
		parameterOf: []fieldDoc{{"purge", "Whether a job that has ended is removed."}},
		answers:     []answerDoc{{status: 200, about: "The job as it is now.", of: typeOf[jobView]()}, {status: 204, about: "The job was removed."}},
		fails:       [][]kind{idFails, {invalid, jobNotEnded, storeBroken}},
	}, {
		route: "POST /v1/jobs/{id}/interrupt", id: "interruptJob", tag: tagJobs, summary: "End a job with the image so far",
		about:   "A job that is computed ends after the step that is under way, and its parameters say so.",
		answers: []answerDoc{{status: 202, about: "It is going to end.", of: typeOf[jobView]()}, {status: 200, about: "It had ended before.", of: typeOf[jobView]()}},
		fails:   [][]kind{idFails, {jobNotRunning}},
	}, {
		route: "POST /v1/jobs/cancel", id: "cancelJobs", tag: tagJobs, summary: "Cancel many jobs", about: "Those with the ids, or all of who asks.",
		body: &bodyForm{
			parse:   func(_ *Server, _ *exchange, f *fields) { f.jobIDs() },
			docs:    []fieldDoc{{"ids", "Ids of jobs. Required unless all is true."}, {"all", "All jobs that have not ended."}},
			example: `{"ids":["` + exampleID + `"]}`,
		},
		answers: []answerDoc{{status: 200, about: "What became of which.", of: typeOf[cancelView]()}},
		fails:   [][]kind{bodyFails},
	}, {
		route: "GET /v1/jobs/{id}/events", id: "jobEvents", tag: tagJobs, summary: "What happens to a job",
		about: "Server-sent events up to the end of the job: what happened before, then what happens. The last one is done, failed or " +
			"cancelled, with the whole job. A client that connects again goes on where it was.",
		query:       func(f *fields) { f.eventNumber("after") },
		parameterOf: []fieldDoc{{"after", "The id of the last event that the client has had, where it can't send the header."}},
		headers: []openapi.Parameter{{
			Name: "Last-Event-ID", Description: "The id of the last event that the client has had. Browsers send it by themselves.",
		}},
		answers: []answerDoc{{status: 200, about: "The events.", media: "text/event-stream", events: jobEventTypes}},
		fails:   [][]kind{idFails, {invalid}},
		curl:    "-N",
	}, {
		route: "GET /v1/queue", id: "getQueue", tag: tagJobs, summary: "The queue",
		answers: []answerDoc{{status: 200, about: "How many jobs there are, and how the devices are.", of: typeOf[queueView]()}},
	},
}

// jobEndDoc is denoising_end of any task.
var jobEndDoc = fieldDoc{"denoising_end", "The fraction of the steps at which the run ends, or, of an ensemble, the base; 0.8 if absent there."}

// jobEventTypes are the data of a job's events.
var jobEventTypes = map[string]reflect.Type{
	string(job.KindState): typeOf[stateEvent](), string(job.KindLoading): typeOf[loadingEvent](), string(job.KindStep): typeOf[stepEvent](),
	string(job.KindPreview): typeOf[previewEvent](), string(job.KindWarning): typeOf[warningEvent](),
	string(job.KindStopping): typeOf[stoppingEvent](),
	string(job.Done):         typeOf[jobView](), string(job.Failed): typeOf[jobView](), string(job.Cancelled): typeOf[jobView](),
}

var serverOperations = []operation{
	{
		route: "GET /v1/models", id: "listModels", tag: tagServer, summary: "The models", about: "In OpenAI's form, with what the devices have of each.",
		answers: []answerDoc{{status: 200, about: "The default one first, refiners last.", of: typeOf[modelPage]()}},
	}, {
		route: "GET /v1/models/{id...}", id: "getModel", tag: tagServer, summary: "A model", about: "Its name may have slashes.",
		answers: []answerDoc{{status: 200, about: "The model.", of: typeOf[modelView]()}},
		fails:   [][]kind{{noModel}},
	}, {
		route: "GET /v1/options", id: "getOptions", tag: tagServer, summary: "What fields may be",
		about:   "The values that fields of requests may have, what they are without a value, and the limits.",
		answers: []answerDoc{{status: 200, about: "The options.", of: typeOf[optionsView]()}},
	}, {
		route: "GET /v1/session", id: "getSession", tag: tagServer, summary: "Who asks", about: "With what is left of the user's limits.",
		answers: []answerDoc{{status: 200, about: "The user.", of: typeOf[sessionView]()}},
	}, {
		route: "POST /v1/session", id: "beginSession", tag: tagServer, summary: "Begin a session",
		about:   "Takes a token in the header Authorization, and gives a browser a cookie for a week in its place.",
		answers: []answerDoc{{status: 200, about: "The user.", of: typeOf[sessionView](), headers: map[string]string{"Set-Cookie": "The session."}}},
	}, {
		route: "DELETE /v1/session", id: "endSession", tag: tagServer, summary: "End a session",
		answers: []answerDoc{{status: 204, about: "The cookie is removed."}},
	}, {
		route: "GET /healthz", id: "getHealth", tag: tagServer, summary: "Whether the process lives",
		answers: []answerDoc{{status: 200, about: "It does.", of: typeOf[healthView]()}},
	}, {
		route: "GET /readyz", id: "getReady", tag: tagServer, summary: "Whether work is taken",
		answers: []answerDoc{{status: 200, about: "It is, by a device at least.", of: typeOf[healthView]()}},
		fails:   [][]kind{{stopping, noWorker, deviceLost, loading, storeBroken}},
	}, {
		route: "GET /metrics", id: "getMetrics", tag: tagServer, summary: "Metrics", about: "What Prometheus reads, for admins, where the server has them on.",
		answers: []answerDoc{{status: 200, about: "Prometheus's text.", media: "text/plain"}},
		fails:   [][]kind{{notFound}},
	},
}

var pageOperations = []operation{
	{
		route: "GET /{$}", id: "getPage", tag: tagPage, summary: "The web page",
		answers: []answerDoc{{status: 200, about: "The page.", media: "text/html"}},
	}, {
		route: "GET /page/{file}", id: "getPageFile", tag: tagPage, summary: "What the web page loads",
		answers: []answerDoc{{status: 200, about: "The file.", media: "*/*"}},
		fails:   [][]kind{{notFound}},
	}, {
		route: "GET /openapi.json", id: "getOpenAPI", tag: tagPage, summary: "This document",
		answers: []answerDoc{{status: 200, about: "OpenAPI 3.1.", media: "application/json"}},
	}, {
		route: "GET /docs", id: "getDocs", tag: tagPage, summary: "This document as a page",
		answers: []answerDoc{{status: 200, about: "The page.", media: "text/html"}},
	}, {
		route: "GET /docs/{file}", id: "getDocsFile", tag: tagPage, summary: "What that page loads",
		answers: []answerDoc{{status: 200, about: "The file.", media: "*/*"}},
		fails:   [][]kind{{notFound}},
	},
}
