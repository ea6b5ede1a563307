package hub

import "time"

// Progress is how far a download is.
type Progress struct {
	Name        Name
	File        string // that is being downloaded
	Files, Done int    // of the download, and those that are complete
	Bytes       int64  // that are on disk, those of earlier tries included
	Total       int64  // 0 if it is not known
	Rate        float64
	Left        time.Duration // 0 if it is not known
	Finished    bool
}

// meter measures the rate over the last seconds and calls a function now and then.
type meter struct {
	Progress
	call    func(Progress)
	now     func() time.Time
	called  time.Time
	samples []sample // of the last window, oldest first
	fetched int64    // over the network, which the rate is of
}

type sample struct {
	at    time.Time
	bytes int64
}

const (
	window   = 10 * time.Second
	interval = 100 * time.Millisecond
)

func (m *meter) add(n int) {
	m.Bytes += int64(n)
	m.fetched += int64(n)
	m.report(false)
}

// report calls the function if it is time, or anyhow.
func (m *meter) report(anyhow bool) {
	now := m.now()
	if m.call == nil || !anyhow && now.Sub(m.called) < interval {
		return
	}
	m.called = now
	m.samples = append(m.samples, sample{now, m.fetched})
	for len(m.samples) > 2 && now.Sub(m.samples[0].at) > window {
		m.samples = m.samples[1:]
	}
	first := m.samples[0]
	if elapsed := now.Sub(first.at).Seconds(); elapsed > 0 {
		m.Rate = float64(m.fetched-first.bytes) / elapsed
	}
	m.Left = 0
	if rest := m.Total - m.Bytes; rest > 0 && m.Rate > 0 {
		m.Left = time.Duration(min(float64(rest)/m.Rate, 1e9) * float64(time.Second))
	}
	m.call(m.Progress)
}
