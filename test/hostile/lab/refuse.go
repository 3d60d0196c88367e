package lab

// Refuse stops listening, so that connections are refused, and lets those that are open go on: what is under way ends well.
// Up listens again.
func (h *Host) Refuse() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listener == nil {
		return nil
	}
	err := h.listener.Close()
	h.listener = nil
	return err
}
