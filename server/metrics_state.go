package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/goxl/goxl/worker"
)

// stateMetrics are what is asked of the queue and the devices at each scrape.
type stateMetrics struct{ server *Server }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	queueLength   = describe("goxl_queue_length", "Jobs that wait for a device.")
	queueCapacity = describe("goxl_queue_capacity", "Jobs that may wait while no device is free.")
	deviceUp      = describe("goxl_device_up", "1 if the device, of this process or a worker, computes, 0 while its models are loaded or it is lost.", "device")
	memoryUsed    = describe("goxl_device_memory_used_bytes", "Memory that the engine has taken of its device.", "device")
	memoryLimit   = describe("goxl_device_memory_limit_bytes", "Memory that the engine may take of its device: what it was given, or what other processes leave.", "device")
	memoryPeak    = describe("goxl_device_memory_peak_bytes", "The most memory that the engine ever had of its device.", "device")
	evictions     = describe("goxl_model_evictions_total", "Components of models that left the device's memory for others, since its engine was opened.", "device")
)

// Describe implements prometheus.Collector.
func (stateMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{queueLength, queueCapacity, deviceUp, memoryUsed, memoryLimit, memoryPeak, evictions} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c stateMetrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	s := c.server
	gauge(queueLength, float64(s.queue.Stats().Waiting))
	gauge(queueCapacity, float64(s.config.Queue))
	for device, state := range s.health() {
		up := 0.0
		if state == worker.Ready {
			up = 1
		}
		gauge(deviceUp, up, device)
	}
	for device, u := range s.pool.Usage() {
		gauge(memoryUsed, float64(u.Memory.Used), device)
		gauge(memoryPeak, float64(u.Memory.Peak), device)
		if u.Memory.Limit > 0 {
			gauge(memoryLimit, float64(u.Memory.Limit), device)
		}
		to <- prometheus.MustNewConstMetric(evictions, prometheus.CounterValue, float64(u.Evictions), device)
	}
}
