package server

// HasRule tells whether an operation has a rule.
func HasRule(operation string) bool {
	_, ok := rules[operation]
	return ok
}
