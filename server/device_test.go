package server

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The name that an engine gives its device takes the place of the one in Config.
func TestDeviceName(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Devices = []string{"cuda:0"} })
	b.base.on = "cpu"
	if err := b.Load(); err != nil {
		t.Fatal(err)
	}
	if w := b.do("GET", "/readyz", ""); w.Body.String() != `{"status":"ready","devices":{"cpu":"ready"}}` {
		t.Errorf("/readyz: %d %s", w.Code, w.Body)
	}
	if log := b.log.String(); !strings.Contains(log, `msg="model loaded" device=cpu`) {
		t.Errorf("log:\n%s", log)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// A running server opens a device again that failed while idle, before anybody asks for it.
func TestIdleDeviceIsOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, change := newFleet(t, faulty)
		r := runOn(t, newPipes(), change)
		synctest.Wait()
		f.loads(0)[0].lost.Store(&errFault)
		time.Sleep(idleCheck)
		synctest.Wait()
		if n := len(f.loads(0)); n != 2 {
			t.Errorf("the device was opened %d times, want 2", n)
		}
		id(t, r.do("POST", "/generate", plain))
		r.end()
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
	})
}
