package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/worker"
)

// kind is a kind of error, as far as a client can tell them apart. Those that a job ends with have package worker's words.
type kind string

const (
	internal        kind = worker.KindInternal
	invalid         kind = worker.KindInvalid
	notFound        kind = "not_found"
	noImage         kind = worker.KindNoImage
	wrongMethod     kind = "method_not_allowed"
	bodyTooLarge    kind = "body_too_large"
	bodyTooSlow     kind = "body_too_slow"
	badBody         kind = "bad_body"
	foreignHost     kind = "foreign_host"
	noRefiner       kind = "no_refiner"
	queueFull       kind = "queue_full"
	largeBodies     kind = "too_many_large_bodies"
	crowded         kind = "too_many_connections"
	sentAhead       kind = "sent_ahead"
	badRange        kind = "bad_range"
	badCondition    kind = "bad_condition"
	tooLarge        kind = worker.KindTooLarge
	storeFull       kind = worker.KindStoreFull
	storeBroken     kind = worker.KindStoreBroken
	journalBroken   kind = "journal_broken"
	tookTooLong     kind = worker.KindTookTooLong
	deviceFailed    kind = worker.KindDeviceFailed
	deviceLost      kind = "device_lost"
	noWorker        kind = "no_worker"
	otherModel      kind = worker.KindOtherModel
	tooLong         kind = worker.KindTooLong
	loading         kind = "loading"
	stopping        kind = worker.KindStopping
	clientGone      kind = "client_gone"
	noJob           kind = "job_not_found"
	expiredJob      kind = "job_expired"
	jobNotEnded     kind = "job_not_ended"
	jobNotRunning   kind = "job_not_running"
	keyReused       kind = "idempotency_key_reused"
	badMedia        kind = "unsupported_media_type"
	foreignOrigin   kind = "foreign_origin"
	cancelled       kind = job.KindCancelled
	modelFailed     kind = worker.KindModelFailed
	noToken         kind = "no_token"
	wrongToken      kind = "wrong_token"
	tooManyFailures kind = "too_many_failures"
	forbidden       kind = "forbidden"
	quotaExceeded   kind = "quota_exceeded"

	badValue       kind = "bad_value" // with the values that there are
	noInitImage    kind = "init_image_not_found"
	noScript       kind = "script_not_found"
	notImplemented kind = "not_implemented"
)

// answers are those to each kind of error.
var answers = map[kind]struct {
	status int
	detail string        // unless the error lists problems
	retry  time.Duration // the least Retry-After; 0 sends none
	hangUp bool          // the rest of the request was not read
	level  slog.Level    // of the log's record: an error is what somebody has to look after
}{
	noModel: {status: http.StatusNotFound, detail: "The model does not exist"},
	noAlpha: {status: http.StatusBadRequest, detail: "Invalid mask image format - mask image missing alpha channel"},

	internal:     {status: http.StatusInternalServerError, detail: worker.InternalWords, level: slog.LevelError},
	invalid:      {status: http.StatusUnprocessableEntity, detail: "Unprocessable Content"},
	notFound:     {status: http.StatusNotFound, detail: "Not Found"},
	noImage:      {status: http.StatusNotFound, detail: worker.NoImageWords},
	wrongMethod:  {status: http.StatusMethodNotAllowed, detail: "Method Not Allowed"},
	bodyTooLarge: {status: http.StatusRequestEntityTooLarge, detail: "Request body is too large: must be at most 65536 bytes", hangUp: true},
	bodyTooSlow:  {status: http.StatusRequestTimeout, detail: "Request body did not arrive in time", hangUp: true},
	badBody:      {status: http.StatusBadRequest, detail: "There was an error parsing the body", hangUp: true},
	foreignHost: {status: http.StatusForbidden, hangUp: true,
		detail: "The Host header is none of this server's: it listens on a loopback address and answers to localhost, loopback addresses and -allowed-hosts"},
	noRefiner:   {status: http.StatusNotImplemented, detail: "No refiner: the server was started without -refiner"},
	queueFull:   {status: http.StatusServiceUnavailable, detail: "The queue is full", retry: time.Second, level: slog.LevelWarn},
	largeBodies: {status: http.StatusServiceUnavailable, detail: "The server reads as many large bodies as it may", retry: time.Second, hangUp: true, level: slog.LevelWarn},
	crowded:     {status: http.StatusServiceUnavailable, detail: "The server has too many connections", retry: time.Second, hangUp: true, level: slog.LevelWarn},
	sentAhead: {status: http.StatusBadRequest, hangUp: true,
		detail: fmt.Sprintf("Too much was sent before the answer: must be at most %d bytes after a request", maxAhead-readSize)},
	badRange:      {status: http.StatusRequestedRangeNotSatisfiable, detail: "Range Not Satisfiable"},
	badCondition:  {status: http.StatusPreconditionFailed, detail: "Precondition Failed"},
	tooLarge:      {status: http.StatusInsufficientStorage, detail: worker.TooLargeWords, level: slog.LevelWarn},
	storeFull:     {status: http.StatusInsufficientStorage, detail: worker.StoreFullWords, level: slog.LevelError},
	storeBroken:   {status: http.StatusServiceUnavailable, detail: worker.StoreBrokenWords, retry: 5 * time.Second, level: slog.LevelError},
	journalBroken: {status: http.StatusServiceUnavailable, detail: "The journal of jobs can't be written", retry: 5 * time.Second, level: slog.LevelError},
	tookTooLong:   {status: http.StatusGatewayTimeout, detail: worker.TookTooLongWords, level: slog.LevelWarn},
	deviceFailed:  {status: http.StatusInternalServerError, detail: worker.DeviceFailedWords, level: slog.LevelError},
	deviceLost:    {status: http.StatusServiceUnavailable, detail: "The device failed and is being opened again", retry: 5 * time.Second, level: slog.LevelWarn},
	noWorker:      {status: http.StatusServiceUnavailable, detail: "No worker is there", retry: 5 * time.Second, level: slog.LevelWarn},
	otherModel:    {status: http.StatusServiceUnavailable, detail: "No worker can compute the job", retry: 5 * time.Second, level: slog.LevelWarn},
	tooLong:       {status: http.StatusRequestEntityTooLarge, detail: "The request is too large to be sent to a worker"},
	loading:       {status: http.StatusServiceUnavailable, detail: "The model is being loaded", retry: 5 * time.Second},
	modelFailed:   {status: http.StatusServiceUnavailable, detail: "The model can't be loaded", retry: 5 * time.Second, level: slog.LevelWarn},
	stopping:      {status: http.StatusServiceUnavailable, detail: worker.StoppingWords, retry: 10 * time.Second, hangUp: true},
	noJob:         {status: http.StatusNotFound, detail: "Job not found"},
	expiredJob:    {status: http.StatusGone, detail: "The job has expired"},
	jobNotEnded:   {status: http.StatusConflict, detail: "The job has not ended: cancel it first"},
	jobNotRunning: {status: http.StatusConflict, detail: "The job is not being computed, and has no image yet: cancel it"},
	keyReused:     {status: http.StatusUnprocessableEntity, detail: "The Idempotency-Key was used before with another body"},
	badMedia: {status: http.StatusUnsupportedMediaType, hangUp: true,
		detail: "Unsupported Media Type: must be image/png, image/jpeg, image/webp, or multipart/form-data with a field image"},
	foreignOrigin: {status: http.StatusForbidden, detail: "The request comes from another origin", hangUp: true},
	cancelled:     {status: http.StatusConflict, detail: "The job was cancelled"},
	noToken:       {status: http.StatusUnauthorized, detail: "Not authenticated"}, // FastAPI's words
	wrongToken:    {status: http.StatusUnauthorized, detail: "Invalid token", level: slog.LevelWarn},
	tooManyFailures: {status: http.StatusTooManyRequests, detail: "Too many requests with a wrong token", retry: time.Second,
		level: slog.LevelWarn},
	forbidden:      {status: http.StatusForbidden, detail: "Only users with the role admin may do this"},
	quotaExceeded:  {status: http.StatusTooManyRequests, detail: "A quota is used up", retry: time.Second},
	clientGone:     {status: 499, detail: "The client hung up", hangUp: true}, // nginx's number; one that only half hung up reads it
	badValue:       {status: http.StatusBadRequest, detail: "Bad Request"},
	noInitImage:    {status: http.StatusNotFound, detail: "Init image not found"},
	noScript:       {status: http.StatusUnprocessableEntity, detail: "Script not found"},
	notImplemented: {status: http.StatusNotImplemented, detail: "Not Implemented"},
}

// failure is an error of a known kind. The client reads its kind's words, or detail, or the problems; the log reads
// err, where there is one.
type failure struct {
	kind     kind
	detail   string    // in place of the kind's
	problems []problem // of an invalid request
	retry    time.Duration
	err      error
}

// mostLogged is how many problems of a request the log has: a list can have one for each of its items.
const mostLogged = 8

func (f *failure) Error() string {
	if f.err != nil {
		return f.err.Error()
	}
	if len(f.problems) == 0 {
		return f.words()
	}
	var all []string
	for i, p := range f.problems { // without the input, which is the client's own
		if i == mostLogged {
			all = append(all, fmt.Sprintf("and %d more", len(f.problems)-i))
			break
		}
		all = append(all, fmt.Sprintf("%v: %s", p.Loc, cmp.Or(p.logged, p.Msg)))
	}
	return strings.Join(all, "; ")
}

func (f *failure) Unwrap() error { return f.err }

// words are what the client reads where there are no problems.
func (f *failure) words() string {
	if f.detail != "" {
		return f.detail
	}
	return answers[f.kind].detail
}

// errorAnswer is the answer to an error, in the shape of the API that the path is of.
func errorAnswer(path string, f *failure) (status int, body any) {
	if isOpenAI(path) {
		return openAIError(f)
	}
	if isSDAPI(path) {
		return sdError(f)
	}
	var detail any = f.words()
	if len(f.problems) > 0 {
		detail = f.problems
	}
	return answers[f.kind].status, map[string]any{"detail": detail}
}

// errStopped is the cause of the end of a computation that the server itself ended.
var errStopped = errors.New("the server was stopped")

// classify finds the kind of any error; one of no known kind is the server's own.
func classify(err error) *failure {
	var f *failure
	var request *sdxl.RequestError
	switch {
	case errors.As(err, &f):
		return f
	case storeFailure(err) != nil:
		return storeFailure(err)
	case errors.As(err, &request): // without err, whose words have the value, which may be a prompt
		return &failure{kind: invalid, problems: []problem{requestProblem(request)}}
	case errors.Is(err, errStopped):
		return &failure{kind: stopping, err: err}
	case errors.Is(err, context.Canceled):
		return &failure{kind: clientGone, err: err}
	}
	return &failure{kind: internal, err: err}
}

// jobFailure is the failure of a request that waits for a job, by the job's error.
func jobFailure(e *job.Error) *failure {
	if _, known := answers[kind(e.Kind)]; !known {
		return &failure{kind: internal, err: e}
	}
	f := &failure{kind: kind(e.Kind), detail: e.Message}
	if f.kind != invalid {
		return f
	}
	if json.Unmarshal(e.Detail, &f.problems) == nil { // of this package, by resolveAgain
		for i := range f.problems {
			f.problems[i].logged = "as the log says of the job"
		}
		return f
	}
	var p worker.Problem
	if json.Unmarshal(e.Detail, &p) == nil {
		request := &sdxl.RequestError{Field: p.Field, Value: p.Value, Allowed: p.Allowed}
		if p.Reason != "" {
			request.Err = errors.New(p.Reason)
		}
		f.problems = []problem{requestProblem(request)}
	}
	return f
}
