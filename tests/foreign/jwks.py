"""Checks access tokens as PyJWT does: JWKS_URL, ISSUER and ALGORITHM from the environment, one token a line. Says "sub N" or why not."""

import os
import sys

import jwt

keys = jwt.PyJWKClient(os.environ["JWKS_URL"])
for line in sys.stdin:
    token = line.strip()
    try:
        key = keys.get_signing_key_from_jwt(token)
        claims = jwt.decode(
            token,
            key,
            algorithms=[os.environ["ALGORITHM"]],
            audience="latchkey",
            issuer=os.environ["ISSUER"],
            options={"require": ["exp", "iat", "sub", "jti", "client_id"]},
        )
        print("sub", claims["sub"])
    except jwt.PyJWTError as error:
        print("refused", type(error).__name__)
