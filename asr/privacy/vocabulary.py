"""The words that tell personal data from what only looks like it, in French and in English."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module

from asr.errors import MissingExtraError
from asr.privacy.spans import bag

# Words that are no part of a name or an address, however they are capitalised.
_FRENCH_STOP = """
a à abord absolument ah ai aimerais ainsi alors allô allo après as au aujourd aussi autre aux avait avec avez
avons ben bien bon bonjour bonsoir c ça car ce cela celle celui ces cet cette chez chose ci comme comment
contrat d dans de déjà demain depuis derrière des désolé désolée devant dimanche dis dit donc du elle elles en
encore enfin ensuite entre est et était étais été être eu euh hein heu hier hop ici il ils j jamais je jeudi
juste l la là laissez le les leur leurs lui lundi m ma madame mademoiselle mail mais mardi me même merci
mercredi mes mesdames messieurs mademoiselles messire mlle mme moi moins mon monsieur n ne ni non nos notre nous
numéro on or ou où ouais oui par parce parle pas pendant peu peut pis plus pour pourquoi près puis qu quand que
quel quelle qui quoi réponds reste rien s sa samedi sans sauf se serai ses si son sont sous suis suite sur t ta
tard te tes toi ton toujours tous tout toute toutes très trop tu un une va vais vas vendredi vers veux viens
voici voilà vos votre voulais voudrais vous vraiment vu y adresse nom prénom email courriel appelle appelez
rappelle rappelez joindre joignez écris écrivez envoie envoyez contact contactez dossier client cliente
"""
_ENGLISH_STOP = """
a about actually address after again ah all also am an and any anyway are around as at back be because been
before behind bonjour but buy by bye call called calling can contact could did do does email emails ask find for
from get go good got had has have he hello help her here hers hey hi him his how i if in info into is isn it its
just last late later let ll lot look m madam mail may maybe me message might mine miss monday more mr mrs ms
much my near never next nice no not now of off oh ok okay on only or order our out over please price really
reach re reply right ring ringing s said say see send shall she shop should sir so some soon sorry speak
speaking sunday saturday sure t talk telephone text than thank thanks that the their them then there these they
thing this those thursday tuesday friday wednesday to today tomorrow too try um uh under until up us use usually
ve very visit want was way we well were what when where which while who why will with without won would write
yeah yep yes yesterday yet you your yours online available sale sold name phone mobile number happy glad tired
"""
STOP_WORDS = {"fr": bag(_FRENCH_STOP), "en": bag(_ENGLISH_STOP)}
"""Words that end a name, a street's name or what stands before an at."""

TOP_LEVEL_DOMAINS = bag(
    """
com net org info biz eu io co uk fr be ch ca de lu it es pt nl ie us in au nz qc gouv gov edu ac me dev app
"""
)
"""The ends of addresses that people read out."""

FRENCH_MONTHS = bag(
    """
janvier février fevrier mars avril mai juin juillet août aout septembre octobre novembre décembre decembre
"""
)
ENGLISH_MONTHS = bag(
    """
january february march april may june july august september october november december jan feb mar apr jun jul
aug sept sep oct nov dec
"""
)
MONTHS = {"fr": FRENCH_MONTHS, "en": ENGLISH_MONTHS}

STREETS = {
    "fr": bag(
        """
rue avenue boulevard bd place impasse chemin allée route quai square cours passage faubourg ruelle sentier
chaussée rang montée côte venelle villa esplanade promenade résidence lotissement
"""
    ),
    "en": bag(
        """
street road avenue lane drive close court crescent way terrace boulevard square hill gardens garden grove mews
row walk st rd ave park view rise wynd brae green circle place parade
"""
    ),
}
"""What a street is called by; before its name in French, after it in English."""

# Names that are a place, a feast or a month more often, whatever is said before them.
NO_NAMES = bag(
    """
paris nice london florence chelsea victoria jordan india georgia sydney adelaide austin dallas houston lourdes
kent lincoln valence nancy vienne bristol carolina virginia israel chad china asia africa america europe york
berlin milan roma lyon marseille troy savannah brooklyn bronx kenya ireland england scotland wales france
belgique suisse canada québec noël pâques bible internet visa euro google amazon facebook windows république
église rivoli
"""
)
# Names that are plain words as well: only what is said before them makes them a person's.
_WORDS_TOO = bag(
    """
will mark grant grace faith hope joy rose daisy lily ivy pearl ruby amber crystal dawn eve sky skye star sunny
rich art bill bob chase chance chip cliff dale dean drew duke earl ernest frank gene guy hunter jack jay jean
lane lee major marshall max miles misty norm page pat peg penny pierre piper porter prince ray reed rob rod
rusty sandy sue ted trey van wade ward wood young king bishop carol case christian clay candy cherry destiny
dusty heather holly jewel laurel melody mercedes olive precious royal sage violet storm aimé bienvenue clément
constant désiré fleur honoré juste marine marin modeste prudence victoire violette aurore blanche céleste
clémence iris lys perle reine capucine marguerite colombe barbe the is an son love said sun prime noble patience
comfort blessing summer autumn winter
"""
)
_PROVIDERS = {
    "fr": ("fr_FR", "fr_BE", "fr_CA", "fr_CH", "fr_DZ", "en_GB"),
    "en": ("en_GB", "en_US", "en_IE", "en_IN", "en_NG", "en_PK", "en_NZ"),
}


@lru_cache
def first_names(language: str) -> frozenset[str]:
    """Return first names of the countries in which a language is spoken, in lower case, from Faker's lists.

    Raises:
        MissingExtraError: Faker is not installed.
    """
    names = _names(language, "first")
    return frozenset(name for name in names if len(name) > 2) - STOP_WORDS[language] - MONTHS[language] - NO_NAMES


@lru_cache
def last_names(language: str) -> frozenset[str]:
    """Return last names of the same countries, in lower case.

    Raises:
        MissingExtraError: Faker is not installed.
    """
    return frozenset(_names(language, "last")) - STOP_WORDS[language]


@lru_cache
def plain_first_names(language: str) -> frozenset[str]:
    """Return the first names that are a person's wherever they stand."""
    return first_names(language) - _WORDS_TOO


def _names(language: str, kind: str) -> set[str]:
    found: set[str] = set()
    for locale in _PROVIDERS[language]:
        try:
            provider = import_module(f"faker.providers.person.{locale}").Provider
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "names are found with lists of the package Faker, which is not installed: "
                "pip install 'dialect-asr[privacy]'"
            ) from error
        for attribute in dir(provider):
            if attribute.startswith(f"{kind}_names"):
                # "Jean-Marc" is two of the words into which a text is cut; the first one is looked up.
                found.update(str(name).casefold().split("-")[0] for name in getattr(provider, attribute))
    return found
