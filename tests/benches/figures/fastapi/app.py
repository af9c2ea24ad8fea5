"""The floor of issuing and listing keys: FastAPI on asyncpg, as a careful team would write the same two routes.

The token's session is looked up on each request, as tokens can be revoked; a key and its event are one transaction.
`POST /users` stands in for a login and is not measured. Environment: DATABASE_URL, PORT.
"""

import hashlib
import os
import secrets
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import asyncpg
import jwt
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field

SECRET = "fastapi-floor-secret-of-enough-bytes-for-hs256"
CONNECTIONS = 10
SCHEMA = """
CREATE TABLE users (id BIGSERIAL PRIMARY KEY, is_active BOOLEAN NOT NULL DEFAULT TRUE);
CREATE TABLE sessions (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id BIGINT NOT NULL REFERENCES users,
    ended_at TIMESTAMPTZ
);
CREATE TABLE api_keys (
    id BIGSERIAL PRIMARY KEY,
    owner_id BIGINT NOT NULL REFERENCES users,
    hash BYTEA NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    name TEXT NOT NULL,
    scopes TEXT[] NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    revoked_at TIMESTAMPTZ,
    last_used_at TIMESTAMPTZ
);
CREATE INDEX ON api_keys (owner_id, id);
CREATE TABLE events (
    id BIGSERIAL PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL,
    action TEXT NOT NULL,
    actor_id BIGINT NOT NULL,
    target_id BIGINT NOT NULL,
    ip TEXT
);
CREATE INDEX ON events (actor_id, id);
CREATE INDEX ON events (target_id, id);
"""
FIND_SESSION = """SELECT user_id FROM sessions JOIN users ON users.id = user_id
    WHERE sessions.id = $1 AND ended_at IS NULL AND is_active"""
INSERT_KEY = """INSERT INTO api_keys (owner_id, hash, hint, name, scopes, created_at, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id"""
INSERT_EVENT = """INSERT INTO events (at, action, actor_id, target_id, ip)
    VALUES ($1, 'key.created', $2, $3, $4)"""
LIST_KEYS = """SELECT id, hint, name, scopes, created_at, expires_at, revoked_at, last_used_at
    FROM api_keys WHERE owner_id = $1 AND id > $2 ORDER BY id LIMIT $3"""


class NewKey(BaseModel):
    name: str = Field(min_length=1, max_length=100)
    expires_in_days: int = Field(default=365, ge=1, le=3650)
    scopes: list[str] = Field(default=["*"], max_length=64)


class Key(BaseModel):
    id: int
    name: str
    hint: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime
    is_revoked: bool
    last_used_at: datetime | None


class CreatedKey(Key):
    key: str


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=CONNECTIONS, max_size=CONNECTIONS
    ) as pool:
        await pool.execute(SCHEMA)
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)
bearer = HTTPBearer()


def pool_of(request: Request) -> asyncpg.Pool:
    return request.app.state.pool


Pool = Annotated[asyncpg.Pool, Depends(pool_of)]


async def current_user(
    pool: Pool, token: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]
) -> int:
    try:
        claims = jwt.decode(token.credentials, SECRET, algorithms=["HS256"])
    except jwt.InvalidTokenError as error:
        raise HTTPException(401, "not authenticated") from error
    user = await pool.fetchval(FIND_SESSION, claims["sid"])
    if user is None:
        raise HTTPException(401, "not authenticated")
    return user


User = Annotated[int, Depends(current_user)]


@app.post("/users", status_code=201)
async def sign_up(pool: Pool) -> str:
    user = await pool.fetchval("INSERT INTO users DEFAULT VALUES RETURNING id")
    session = await pool.fetchval(
        "INSERT INTO sessions (user_id) VALUES ($1) RETURNING id", user
    )
    claims = {"sub": str(user), "sid": str(session), "exp": datetime.now(UTC) + timedelta(hours=1)}
    return jwt.encode(claims, SECRET, algorithm="HS256")


@app.post("/keys/create", status_code=201)
async def create(body: NewKey, user: User, pool: Pool, request: Request) -> CreatedKey:
    text = "sk_" + secrets.token_urlsafe(36)
    hint = f"{text[:7]}…{text[-4:]}"
    now = datetime.now(UTC)
    expires_at = now + timedelta(days=body.expires_in_days)
    hash = hashlib.sha256(text.encode()).digest()
    client = request.client.host if request.client else None
    async with pool.acquire() as connection, connection.transaction():
        id = await connection.fetchval(
            INSERT_KEY, user, hash, hint, body.name, body.scopes, now, expires_at
        )
        await connection.execute(INSERT_EVENT, now, user, id, client)
    return CreatedKey(
        id=id,
        key=text,
        name=body.name,
        hint=hint,
        scopes=body.scopes,
        created_at=now,
        expires_at=expires_at,
        is_revoked=False,
        last_used_at=None,
    )


@app.get("/keys")
async def list_keys(
    user: User,
    pool: Pool,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[int, Query(ge=0)] = 0,
) -> list[Key]:
    rows = await pool.fetch(LIST_KEYS, user, after, limit)
    return [Key(is_revoked=row["revoked_at"] is not None, **row) for row in rows]


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
