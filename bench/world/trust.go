package world

// Root is the certificate in PEM that whoever trusts a signer of Notation must trust; nil for the others.
func (s *Signer) Root() []byte { return s.root }
