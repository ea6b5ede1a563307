package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goxl/goxl/job"
)

// findTimeout is how long the other APIs may take to tell of a job or an image.
const findTimeout = 500 * time.Millisecond

// present tells the other APIs that this one is there, or leaves.
func (a *API) present(leaving bool) { a.conn.publish(subjectAPIs, presence{a.id, leaving}) }

// onAPI notes a sign of life of another API.
func (a *API) onAPI(m *nats.Msg) {
	var p presence
	if err := json.Unmarshal(m.Data, &p); err != nil || p.ID == "" {
		a.options.Log.Warn("an API's sign of life can't be read", slog.Any("error", err))
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case p.ID == a.id:
	case p.Leaving:
		delete(a.others, p.ID)
	default:
		a.others[p.ID] = time.Now()
	}
}

// ask asks all other APIs, and returns the answer of the one that has what it is about, nil if none has. Where there is no
// other API it returns at once, else when all have answered, and in any case after findTimeout.
func (a *API) ask(ctx context.Context, subject string, question []byte) (*nats.Msg, error) {
	a.mu.Lock()
	settling := !a.settled.IsZero() // there may be others that are not known yet
	missing := map[string]bool{}
	for id := range a.others {
		missing[id] = true
	}
	a.mu.Unlock()
	if len(missing) == 0 && !settling || !a.conn.connected() {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	inbox := a.conn.nc.NewInbox()
	answers, err := a.conn.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("remote: asking other servers: %w", err)
	}
	defer func() { _ = answers.Unsubscribe() }() // fails if the connection has ended
	if err := a.conn.nc.PublishMsg(&nats.Msg{Subject: subject, Reply: inbox, Data: question, Header: nats.Header{headerAPI: {a.id}}}); err != nil {
		return nil, fmt.Errorf("remote: asking other servers: %w", err)
	}
	for len(missing) > 0 || settling {
		m, err := answers.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("remote: asking other servers: %w", err)
		case m.Header.Get(headerFound) != "":
			return m, nil
		}
		delete(missing, m.Header.Get(headerAPI))
	}
	return nil, nil
}

// tell answers what another API asked: data that was found, or that there is nothing.
func (a *API) tell(to *nats.Msg, found bool, info string, data []byte) {
	m := &nats.Msg{Subject: to.Reply, Data: data, Header: nats.Header{headerAPI: {a.id}}}
	if found {
		m.Header.Set(headerFound, "true")
	}
	if info != "" {
		m.Header.Set(headerImage, info)
	}
	if err := a.conn.nc.PublishMsg(m); err != nil {
		a.options.Log.Warn("another API is not answered", slog.String("error", err.Error()))
	}
}

// foreign reports whether a question is another API's.
func (a *API) foreign(m *nats.Msg) bool { return m.Reply != "" && m.Header.Get(headerAPI) != a.id }

// onState answers what another API asks of a job.
func (a *API) onState(m *nats.Msg) {
	if !a.foreign(m) {
		return
	}
	j, live, err := a.queue.Job(string(m.Data))
	if err != nil {
		a.tell(m, false, "", nil)
		return
	}
	data, err := encode(state{j, live})
	if err != nil {
		a.options.Log.Warn("another API is not answered", slog.String("job", j.ID), slog.String("error", err.Error()))
		return
	}
	a.tell(m, true, "", data)
}

// Find asks the other APIs for a job that this one does not have. It returns job.ErrUnknown if none tells of it.
func (a *API) Find(ctx context.Context, id string) (job.Job, job.Live, error) {
	m, err := a.ask(ctx, subjectState, []byte(id))
	if err != nil {
		return job.Job{}, job.Live{}, err
	}
	if m == nil {
		return job.Job{}, job.Live{}, job.ErrUnknown
	}
	var s state
	if err := json.Unmarshal(m.Data, &s); err != nil {
		return job.Job{}, job.Live{}, fmt.Errorf("remote: the state of job %s: %w", id, err)
	}
	return s.Job, s.Live, nil
}
