package engine

// Models says what there is of each model.
func (s *Several) Models() []ModelStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]ModelStatus, len(s.config.Models))
	for i, o := range s.config.Models {
		switch m := s.models[o.Name]; {
		case m.reading:
			list[i] = ModelStatus{o.Name, Loading, m.percent}
		case m.engine != nil:
			list[i] = ModelStatus{Name: o.Name, State: Ready}
		default:
			list[i] = ModelStatus{Name: o.Name, State: Unloaded}
		}
	}
	return list
}

// Costs are those of the first model, and in Models of each that was open once.
func (s *Several) Costs() Costs {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.costs
}

// DeviceName is the device's.
func (s *Several) DeviceName() string { return s.device }

// Usage is what an open model's engine reports of the device that all share.
func (s *Several) Usage() (Usage, bool) {
	s.mu.Lock()
	var reporter Reporter
	for _, m := range s.models {
		if r, reports := m.engine.(Reporter); reports {
			reporter = r
		}
	}
	s.mu.Unlock()
	if reporter == nil {
		return Usage{}, false
	}
	return reporter.Usage() // which may take a while
}

// Lost is what the device, or an open model, says of it. The device may fail while the only model is being opened.
func (s *Several) Lost() error {
	if s.config.Lost != nil {
		if err := s.config.Lost(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.models {
		if m.engine != nil {
			if err := m.engine.Lost(); err != nil {
				return err
			}
		}
	}
	return nil
}
