"""Drives the official Python SDK for a test, by the contract that ../javascript/client.mjs describes."""

import asyncio
import json
import sys

from centrifuge import CentrifugeError, Client, ClientEventHandler, DeltaType, SubscriptionEventHandler

# A test that hangs must not leave a process behind.
LIFETIME_SECONDS = 120

arguments = json.loads(sys.argv[1])
protobuf = arguments["transport"] == "protobuf"


def tell(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def encode(data):
    return json.dumps(data).encode() if protobuf else data


def decode(data):
    return json.loads(data) if protobuf and data else data


def publication(pub):
    return {"data": decode(pub.data), "offset": pub.offset, "user": pub.info.user if pub.info else None}


class ClientEvents(ClientEventHandler):
    async def on_connecting(self, ctx):
        tell("connecting", code=ctx.code, reason=ctx.reason)

    async def on_connected(self, ctx):
        tell("connected", client=ctx.client, version=ctx.version)

    async def on_disconnected(self, ctx):
        tell("disconnected", code=ctx.code, reason=ctx.reason)

    async def on_error(self, ctx):
        tell("error", code=ctx.code, message=str(ctx.error))

    async def on_subscribed(self, ctx):
        tell("serverSubscribed", channel=ctx.channel)

    async def on_publication(self, ctx):
        tell("serverPublication", channel=ctx.channel, **publication(ctx.pub))


class SubscriptionEvents(SubscriptionEventHandler):
    async def on_subscribing(self, ctx):
        tell("subscribing", code=ctx.code, reason=ctx.reason)

    async def on_subscribed(self, ctx):
        tell("subscribed", wasRecovering=ctx.was_recovering, recovered=ctx.recovered)

    async def on_unsubscribed(self, ctx):
        tell("unsubscribed", code=ctx.code, reason=ctx.reason)

    async def on_error(self, ctx):
        tell("error", code=ctx.code, message=str(ctx.error))

    async def on_publication(self, ctx):
        tell("publication", **publication(ctx.pub))


async def act(client, subscription, command):
    match command["do"]:
        case "publish":
            await client.publish(command["channel"], encode(command["data"]))
        case "batch":
            channel = arguments["channel"]
            await asyncio.gather(*(client.publish(channel, encode(data)) for data in command["items"]))
        case "rpc":
            return decode((await client.rpc(command["method"], encode(command.get("data")))).data)
        case "presence":
            return [info.user for info in (await subscription.presence()).clients.values()]
        case "presenceStats":
            stats = await subscription.presence_stats()
            return {"numClients": stats.num_clients, "numUsers": stats.num_users}
        case "history":
            history = await subscription.history(limit=command["limit"])
            return [publication(pub) for pub in history.publications]
        case "subscribe":
            await subscription.subscribe()
        case "unsubscribe":
            await subscription.unsubscribe()


async def fresh_token():
    tell("tokenWanted")
    return arguments["freshToken"]


async def main():
    client = Client(
        arguments["url"],
        events=ClientEvents(),
        token=arguments["token"],
        get_token=fresh_token if arguments.get("freshToken") else None,
        use_protobuf=protobuf,
        proxy=None,
    )
    subscription = client.new_subscription(
        arguments["channel"],
        events=SubscriptionEvents(),
        delta=DeltaType.FOSSIL if arguments.get("delta") else None,
    )
    await client.connect()
    await subscription.subscribe()

    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        command = json.loads(line)
        if command["do"] == "quit":
            break
        try:
            tell("reply", do=command["do"], ok=True, result=await act(client, subscription, command))
        except CentrifugeError as error:
            code = getattr(error, "code", None)
            tell("reply", do=command["do"], ok=False, code=code, message=str(error))
    await client.disconnect()


asyncio.run(asyncio.wait_for(main(), LIFETIME_SECONDS))
