package server

import "time"

// HasRule tells whether an operation has a rule.
func HasRule(operation string) bool {
	_, ok := rules[operation]
	return ok
}

// Aged makes the listeners look at their certificate's files again at the next handshake.
func Aged(l *Listeners) {
	l.certificates.mu.Lock()
	defer l.certificates.mu.Unlock()
	l.certificates.looked = time.Time{}
}
