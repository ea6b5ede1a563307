package server

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/goxl/goxl/job"
)

// Images count wherever they were computed: the devices of other processes tell of no attempts.
func TestMetricsOfRemoteImages(t *testing.T) {
	m := newMetrics("v")
	j := &job.Job{ID: "1", Model: "a", API: "/v1/jobs", Created: time.Unix(0, 0), Ended: time.Unix(1, 0)}
	for _, state := range []job.State{job.Queued, job.Running, job.Done} {
		if state == job.Done {
			j.Outputs = []job.Blob{{ID: "x"}, {ID: "y"}}
		}
		m.observe(j, job.Event{Kind: job.KindState, State: state})
	}
	if got := testutil.ToFloat64(m.images.WithLabelValues("a")); got != 2 {
		t.Errorf("%v images, want 2", got)
	}
}

// Devices of other processes are in the metrics beside those of this one.
func TestMetricsOfRemoteDevices(t *testing.T) {
	w := &workers{}
	b := newBench(t, func(c *Config) { c.Load, c.Remote = nil, w })
	w.ready.Store(true)
	b.expose(t, `# TYPE goxl_device_up gauge
		goxl_device_up{device="far/cuda:0"} 1`)
}
